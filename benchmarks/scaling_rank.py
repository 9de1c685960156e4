"""One rank of the scaling benchmark: measures its steps, its input and its communication.

benchmarks/scaling.py starts it, alone or with Horovod's launcher; it writes its measurements as JSON into a folder.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_WARM_UP = 2
_REDUCTIONS = 12


@dataclasses.dataclass(frozen=True)
class Job:
    """The job of one rank: `steps` steps of `rank_batch_size` patches per rank, in `accumulate` parts.

    `processes` independent processes, of which this is number `index`, start to measure at the same time. Reductions of
    tensors of `link_bytes` are timed, too. Measurements are written into the folder `measurements`.
    """

    model: str
    model_overrides: str
    records: str
    rank_batch_size: int
    accumulate: int
    steps: int
    measurements: str
    link_bytes: tuple[int, ...] = ()
    processes: int = 1
    index: int = 0

    def to_text(self) -> str:
        """Returns the job as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_text(text: str) -> Job:
        """Returns the job of a JSON text."""
        return Job(**json.loads(text))


def main() -> None:
    """Measures the job in the command line."""
    job = Job.from_text(sys.argv[1])
    place = int(os.environ.get("HOROVOD_LOCAL_RANK", job.index))
    cores = sorted(os.sched_getaffinity(0))
    # Before TensorFlow is loaded, which creates as many threads as there are cores.
    os.sched_setaffinity(0, {cores[place % len(cores)]})
    measurement = _measure(job)
    (Path(job.measurements) / f"{place}.json").write_text(json.dumps(measurement), encoding="utf-8")


def _measure(job: Job) -> dict[str, Any]:
    import tensorflow as tf

    from bigearth_tf.config import DataConfig, OptimizerConfig, TrainConfig
    from bigearth_tf.data.sharded_dataset import ShardedDataset
    from bigearth_tf.distributed import collectives
    from bigearth_tf.distributed.replica import start_replica
    from bigearth_tf.models.cost import compute_cost
    from bigearth_tf.training.plan import RunPlan
    from bigearth_tf.training.state import make_train_state
    from bigearth_tf.training.step import make_train_step

    replica = start_replica()
    config = TrainConfig(
        model=job.model,
        model_overrides=job.model_overrides,
        data=DataConfig(data_dir=job.records, bands="S2"),
        optimizer=OptimizerConfig(accumulate=job.accumulate),
        global_batch_size=job.rank_batch_size * replica.world_size,
    )
    dataset = ShardedDataset.open(job.records)
    bands = dataset.select_bands(config.data.bands)
    training = make_train_state(RunPlan(config, dataset, bands, replica.world_size, steps_per_epoch=10000), replica)
    collectives.broadcast(training.variables, replica)
    train_step = make_train_step(training, config, replica)
    batches = _batches(config, dataset, bands, replica)
    steps = _steps(job, train_step, batches)
    gradients = [tf.ones_like(variable) for variable in training.model.trainable_variables]
    sizes = job.link_bytes if replica.world_size > 1 else ()
    return {
        **steps,
        "reduce_s": _reductions(gradients, replica, config) if replica.world_size > 1 else [0.0],
        "link_s": {size: _reductions([tf.ones([size // 4])], replica, config) for size in sizes},
        "gradient_bytes": sum(gradient.shape.num_elements() * gradient.dtype.size for gradient in gradients),
        "gradients": len(gradients),
        "flops": compute_cost(training.model).flops,
    }


def _batches(config: Any, dataset: Any, bands: Any, replica: Any) -> Iterator[Any]:
    from bigearth_tf.input.pipeline import make_train_dataset
    from bigearth_tf.input.shuffle_order import EpochPosition

    for epoch in itertools.count():
        yield from make_train_dataset(
            dataset,
            bands,
            replica,
            EpochPosition(config.seed, epoch),
            global_batch_size=config.global_batch_size,
            shuffle_mb=config.data.shuffle_mb,
        )


def _steps(job: Job, train_step: Callable[..., Any], batches: Iterator[Any]) -> dict[str, list[float]]:
    """Returns for each step its seconds, the seconds of waiting for input, and the seconds of processor time."""
    import tensorflow as tf

    from bigearth_tf.training.step import Requests

    nothing = Requests(save=tf.constant(0.0), stop=tf.constant(0.0))
    found: dict[str, list[float]] = {"step_s": [], "input_s": [], "core_s": []}
    for index in range(_WARM_UP + job.steps):
        if index == _WARM_UP:
            _wait_for_other_processes(job)
        started, core_started = time.perf_counter(), time.process_time()
        batch = next(batches)
        found["input_s"].append(time.perf_counter() - started)
        train_step(batch, tf.constant(index, tf.int64), nothing).loss.numpy()
        found["step_s"].append(time.perf_counter() - started)
        found["core_s"].append(time.process_time() - core_started)
    return {name: seconds[_WARM_UP:] for name, seconds in found.items()}


def _wait_for_other_processes(job: Job) -> None:
    folder = Path(job.measurements)
    (folder / f"ready-{job.index}").touch()
    while len(list(folder.glob("ready-*"))) < job.processes:
        time.sleep(0.01)


def _reductions(tensors: list[Any], replica: Any, config: Any) -> list[float]:
    """Returns the seconds of each of several reductions, one after another."""
    import tensorflow as tf

    from bigearth_tf.distributed import collectives

    reduce = tf.function(lambda *values: collectives.reduce_gradients(values, replica, config.communication))
    seconds = []
    for _ in range(_WARM_UP + _REDUCTIONS):
        started = time.perf_counter()
        reduce(*tensors)[-1].numpy()  # Tensors are reduced as a group: if one has arrived, all have.
        seconds.append(time.perf_counter() - started)
    return seconds[_WARM_UP:]


if __name__ == "__main__":
    main()
