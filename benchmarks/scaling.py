"""Benchmark of scaling: efficiency of 2 and 3 ranks, its parts, and a prediction for hundreds of GPUs.

    python -m benchmarks.scaling --repeats=3

Each rank has one core and the same number of patches per step, whatever the number of ranks (weak scaling). Measured
in turn, each in new processes:

- 1 rank: one process without Horovod.
- 2 independent processes: two of these at the same time, without communication: the limit of this machine.
- 2 ranks, 3 ranks: Horovod processes with Gloo on this host. If there are more ranks than cores, ranks that share a
  core wait for each other, and all other ranks wait for them.

A step is a training step of `experiments.train`: shuffled records, augmentation, forward and backward pass, reduction,
optimizer. Input is the time that the rank waits for its batch. Communication is measured separately, afterwards: only
the reduction of the model's gradients by `reduce_gradients`. The rest of a step is computing, and waiting for the
slower rank. Printed are medians of the repeats, each the median of its steps. Other work on the machine slows two ranks
more than one, since each waits for the other; the efficiency of processor time shows the value without other work.

benchmarks/scaling_model.py predicts the time of communication. For this host, its link is fitted to timed reductions of
several sizes on two ranks, and its prediction is compared with steps of 2 and 3 ranks. For GPUs, it takes each --link.
A step of one GPU takes --gpu_step_ms or, by default, 3 x the FLOPs of the forward pass / --gpu_tflops, which is an
assumption, not a measurement; the progress bar of a training run on one GPU gives a better value.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.scaling_model import Link, efficiency, fit_link, quickest_seconds, ring_seconds
from benchmarks.scaling_rank import Job
from benchmarks.synthetic_records import write_records
from bigearth_tf.runtime.children import start_child
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar


@dataclasses.dataclass(frozen=True)
class Case:
    """The step of a rank: `parts` times `part_size` patches."""

    part_size: int
    parts: int
    quick_overrides: str = ""


CASES = {"wide_resnet_eca_b0": Case(16, 1, "resolution_px=15, width=0.5"), "resnet50": Case(4, 4)}
# Bandwidths are assumed to be four fifths of the line rate. The latency of a hop over InfiniBand is the one that NCCL
# assumes for a ring (src/graph/tuning.cc, see scaling_model.py: NET, ring, simple); the latency over TCP is assumed.
LINKS = ("InfiniBand 200 Gb/s:20:9.6", "InfiniBand 100 Gb/s:10:9.6", "Ethernet 25 Gb/s:2.5:50")

_MODELS = flags.DEFINE_list("models", list(CASES), f"Models to measure, of {', '.join(CASES)}.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Number of measurements of each setup.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 8, "Steps of a measurement.", lower_bound=1)
_MOST_RANKS = flags.DEFINE_integer("most_ranks", 3, "Largest number of ranks.", lower_bound=2)
_QUICK = flags.DEFINE_bool("quick", False, "Measure tiny batches: takes seconds, but the figures mean nothing.")
_LINK = flags.DEFINE_multi_string("link", LINKS, "A link between GPUs: name:10^9 bytes/s:microseconds per hop.")
_GPUS = flags.DEFINE_list("gpus", [str(2**power) for power in range(3, 11)], "Numbers of GPUs to predict.")
_GPU_BATCH_SIZE = flags.DEFINE_integer("gpu_batch_size", 128, "Patches of one pass of a GPU.", lower_bound=1)
_GPU_TFLOPS = flags.DEFINE_float("gpu_tflops", 20.0, "Speed of a GPU in 10^12 FLOPs per second.", lower_bound=1e-3)
_GPU_STEP_MS = flags.DEFINE_list("gpu_step_ms", [], "Milliseconds of one GPU for --gpu_batch_size, one per model.")
_PLOT = flags.DEFINE_string("plot", "", "PNG file for the predictions; default: none.")
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Folder that keeps the records; default: a temporary one.")
_LINK_BYTES = (1 << 12, 1 << 16, 1 << 20, 1 << 23, 1 << 26)

Measurement = dict[str, Any]


def main() -> None:
    """Runs the benchmark and prints measurements and predictions."""
    unknown = set(_MODELS.value) - set(CASES)
    if unknown:
        raise ValueError(f"--models={','.join(sorted(unknown))}: unknown; allowed: {', '.join(CASES)}.")
    links = dict(map(_parse_link, _LINK.value))
    gpu_step_ms = [float(text) for text in _GPU_STEP_MS.value]
    if gpu_step_ms and len(gpu_step_ms) != len(_MODELS.value):
        raise ValueError(f"--gpu_step_ms: {len(gpu_step_ms)} numbers for {len(_MODELS.value)} models.")
    with tempfile.TemporaryDirectory() as temporary:
        records = write_records(Path(_WORK_DIR.value or temporary), 16 if _QUICK.value else 192, names=10)
        found = _measure(records, Path(temporary))
    print(
        f"{len(os.sched_getaffinity(0))} cores, one per rank; "
        f"median of {_REPEATS.value} measurements, each the median of {_steps()} steps"
    )
    for model, setups in found.items():
        _print_measured(model, setups)
    _print_predicted_and_measured(found)
    step_s = {
        model: gpu_step_ms[index] / 1e3 if gpu_step_ms else _estimate_gpu_step(setups)
        for index, (model, setups) in enumerate(found.items())
    }
    curves = _predict(found, step_s, links)
    _print_predicted(curves, bool(gpu_step_ms))
    if _PLOT.value:
        from benchmarks.plot_scaling import plot_scaling

        plot_scaling(_PLOT.value, curves)
        print(f"wrote {_PLOT.value}")


def _parse_link(text: str) -> tuple[str, Link]:
    try:
        name, bandwidth, latency = text.split(":")
        return name, Link(float(bandwidth) * 1e9, float(latency) * 1e-6)
    except ValueError as error:
        raise ValueError(f"--link={text}: expected name:10^9 bytes/s:microseconds, such as {LINKS[0]}") from error


def _steps() -> int:
    return 2 if _QUICK.value else _STEPS.value


def _measure(records: Path, folder: Path) -> dict[str, dict[str, list[Measurement]]]:
    """Returns model -> setup, such as "2 ranks" -> the measurement of each repeat."""
    setups = {"1 rank": (1, 1), "2 independent processes": (2, 1)}  # Independent processes, ranks.
    setups |= {f"{ranks} ranks": (1, ranks) for ranks in range(2, _MOST_RANKS.value + 1)}
    found: dict[str, dict[str, list[Measurement]]] = {model: {setup: [] for setup in setups} for model in _MODELS.value}
    with progress_bar(_REPEATS.value * len(found) * len(setups), "benchmark", "setup") as progress:
        for _ in range(_REPEATS.value):
            for model, measurements in found.items():
                for setup, (processes, ranks) in setups.items():
                    measurements[setup].append(
                        _run(_job(model, records, folder / "measurements", ranks, processes), ranks)
                    )
                    progress.update()
    return found


def _job(model: str, records: Path, measurements: Path, ranks: int, processes: int) -> Job:
    case = CASES[model]
    return Job(
        model=model,
        model_overrides=case.quick_overrides if _QUICK.value else "",
        records=os.fspath(records),
        rank_batch_size=_rank_batch_size(case),
        accumulate=case.parts,
        steps=_steps(),
        measurements=os.fspath(measurements),
        link_bytes=_LINK_BYTES[: 2 if _QUICK.value else None] if ranks == 2 else (),
        processes=processes,
    )


def _rank_batch_size(case: Case) -> int:
    return case.parts * (1 if _QUICK.value else case.part_size)


def _run(job: Job, ranks: int) -> Measurement:
    """Returns the measurement of the slowest of a job's processes."""
    measurements = Path(job.measurements)
    shutil.rmtree(measurements, ignore_errors=True)
    measurements.mkdir()
    launcher = [os.fspath(Path(sys.executable).with_name("horovodrun")), "-np", str(ranks), "--gloo"]
    processes = [
        start_child(
            [*(launcher if ranks > 1 else []), sys.executable, "-m", "benchmarks.scaling_rank", one.to_text()],
            number=signal.SIGTERM,  # horovodrun ends its ranks.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for one in (dataclasses.replace(job, index=index) for index in range(job.processes))
    ]
    for process in processes:
        printed, _ = process.communicate()
        if process.returncode:
            raise OSError(f"A process of {job.model} failed:\n{printed[-3000:]}")
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in measurements.glob("*.json")]
    return max(parts, key=lambda part: statistics.median(part["step_s"]))


def _median(measurements: list[Measurement], key: str) -> float:
    return statistics.median(statistics.median(measurement[key]) for measurement in measurements)


def _print_measured(model: str, setups: dict[str, list[Measurement]]) -> None:
    case, first = CASES[model], setups["1 rank"][0]
    patches = _rank_batch_size(case)
    print(
        f"\n{model}: {patches} patches per rank and step, in {case.parts} parts; {first['gradients']} gradients, "
        f"{first['gradient_bytes'] / 1e6:.1f} MB"
    )
    print(f"{'images/s of a rank':24} {'median':>8}   all")
    for setup, measurements in setups.items():
        rates = [patches / statistics.median(measurement["step_s"]) for measurement in measurements]
        print(f"{setup:24} {statistics.median(rates):8.2f}   {' '.join(f'{rate:.2f}' for rate in rates)}")
    two = _median(setups["2 ranks"], "step_s")
    alone, apart = (_median(setups[setup], "step_s") for setup in ("1 rank", "2 independent processes"))
    print(f"efficiency: 2 ranks / 1 rank                   {alone / two:5.2f}   (goal: at least 0.90)")
    print(f"efficiency: 2 ranks / 2 independent processes  {apart / two:5.2f}")
    core_alone, core_two = (_median(setups[setup], "core_s") for setup in ("1 rank", "2 ranks"))
    print(f"efficiency of processor time: 2 ranks / 1 rank {core_alone / core_two:5.2f}")
    waited, reduced = (_median(setups["2 ranks"], key) for key in ("input_s", "reduce_s"))
    print(
        f"a step of 2 ranks: {two * 1e3:.0f} ms = input {waited / two:.1%} + communication {reduced / two:.1%} "
        f"+ computing and waiting for each other {1 - (waited + reduced) / two:.1%}"
    )


def _print_predicted_and_measured(found: dict[str, dict[str, list[Measurement]]]) -> None:
    timings = [
        (2, float(size), statistics.median(seconds))
        for setups in found.values()
        for measurement in setups["2 ranks"]
        for size, seconds in measurement["link_s"].items()
    ]
    link = fit_link(timings)
    print(
        f"\nlink of 2 ranks of this host, fitted: {link.bandwidth_bytes_s / 1e9:.2f} x 10^9 bytes/s, "
        f"{link.latency_s * 1e6:.0f} microseconds per hop"
    )
    print(f"{'ms':20} {'ranks':>5} {'communication':>20} {'step':>20}")
    print(f"{'':26} {'predicted':>10}{'measured':>10} {'predicted':>10}{'measured':>10}")
    cores = len(os.sched_getaffinity(0))
    for model, setups in found.items():
        compute = _median(setups["2 independent processes"], "step_s")
        for ranks in range(2, _MOST_RANKS.value + 1):
            sharing = -(-ranks // cores)  # Cores do both the computing and the transfer on this host.
            reduced = sharing * ring_seconds(ranks, setups["1 rank"][0]["gradient_bytes"], link)
            cells = (
                (reduced, _median(setups[f"{ranks} ranks"], "reduce_s")),
                (sharing * compute + reduced, _median(setups[f"{ranks} ranks"], "step_s")),
            )
            print(f"{model:20} {ranks:5}" + "".join(f" {one * 1e3:10.1f}{two * 1e3:10.1f}" for one, two in cells))


def _estimate_gpu_step(setups: dict[str, list[Measurement]]) -> float:
    """Returns the seconds that a GPU needs for a batch; the backward pass takes twice as long as the forward pass."""
    return 3 * setups["1 rank"][0]["flops"] * _GPU_BATCH_SIZE.value / (_GPU_TFLOPS.value * 1e12)


Curves = dict[str, dict[int, float]]


def _predict(
    found: dict[str, dict[str, list[Measurement]]], step_s: dict[str, float], links: dict[str, Link]
) -> dict[str, Curves]:
    """Returns title of a model -> name of a link -> number of GPUs -> efficiency."""
    curves = {}
    for model, setups in found.items():
        num_bytes, parts = setups["1 rank"][0]["gradient_bytes"], CASES[model].parts
        for accumulate in sorted({1, parts}):
            compute = accumulate * step_s[model]
            title = f"{model}, {compute * 1e3:.1f} ms for {accumulate} x {_GPU_BATCH_SIZE.value} patches"
            curves[title] = {
                name: {gpus: efficiency(compute, quickest_seconds(gpus, num_bytes, link)) for gpus in _gpu_numbers()}
                for name, link in links.items()
            }
    return curves


def _gpu_numbers() -> list[int]:
    return [int(text) for text in _GPUS.value]


def _print_predicted(curves: dict[str, Curves], measured: bool) -> None:
    origin = "as given" if measured else f"assumed: {_GPU_TFLOPS.value:g} x 10^12 FLOPs a second"
    print(f"\npredicted efficiency of GPUs; step of one GPU {origin}")
    for title, links in curves.items():
        print(title)
        print(f"{'  GPUs':24}" + "".join(f"{gpus:7}" for gpus in _gpu_numbers()))
        for name, values in links.items():
            print(f"  {name:22}" + "".join(f"{value:7.1%}" for value in values.values()))


if __name__ == "__main__":
    run_command(main)
