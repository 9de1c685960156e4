"""Benchmark of mapping a scene: windows/s, compared with the bare model on the same windows.

    python -m benchmarks.map_scene --model=wide_resnet_eca_b0 --side=2400

Writes a random scene with a file per band, and maps it with an untrained model. In turn are measured: the exported
model on the windows of the scene, which are in memory already (the baseline); the same windows read from the scene,
predicted and stored; and the writing of the map. Printed are medians of the repeats and the ratios of each repeat;
other work on the machine makes them meaningless.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command

_MODEL = flags.DEFINE_string("model", "wide_resnet_eca_b0", "Name of the model.")
_BANDS = flags.DEFINE_string("bands", "S2", "Bands of the model, as in --config.data.bands.")
_SIDE = flags.DEFINE_integer("side", 2400, "Side of the scene in pixels of 10 m, a multiple of 6.", lower_bound=120)
_STRIDE = flags.DEFINE_integer("stride", None, "Pixels from window to window; default: half a patch.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Windows that are predicted at a time.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Number of measurements.", lower_bound=1)


def main() -> None:
    """Runs the benchmark and prints its table."""
    from benchmarks.random_scene import write_random_scene, write_untrained_model
    from bigearth_tf.mapping.options import MapOptions
    from bigearth_tf.mapping.plan import plan_map
    from bigearth_tf.mapping.predict_windows import PredictOptions, predict_parts
    from bigearth_tf.mapping.raster import BandReader
    from bigearth_tf.mapping.read_windows import cut_batches, read_strip
    from bigearth_tf.mapping.write_map import MapFiles, write_map
    from bigearth_tf.serving.predictor import Predictor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_dir = write_untrained_model(folder / "model", _MODEL.value, _BANDS.value)
        scene = write_random_scene(folder / "scene", _BANDS.value, _SIDE.value)
        plan = plan_map(
            model_dir, scene, MapOptions(stride_px=_STRIDE.value, batch_size=_BATCH_SIZE.value, dn_offset=0)
        )
        parts, predictor = plan.grid.parts(), Predictor(model_dir)
        with BandReader() as reader:
            batches = [
                batch.bands
                for part in parts
                for batch in cut_batches(
                    read_strip(reader, plan.scene_input, plan.grid, part, ()),
                    plan.scene_input,
                    plan.grid,
                    _BATCH_SIZE.value,
                )
            ]
        options = PredictOptions(folder, len(plan.class_names), _BATCH_SIZE.value, (), lambda _: None)
        files = MapFiles(folder / "map.tif", folder / "map_top.tif")
        stages: dict[str, Callable[[], object]] = {
            "the bare model": lambda: [predictor.predict_batch(batch) for batch in batches],
            "read, cut, predict, store": lambda: predict_parts(
                predictor.predict_batch, plan.scene_input, plan.grid, parts, options
            ),
            "write the map": lambda: write_map(
                folder, plan.scene_input, plan.grid, plan.class_names, files, lambda _: None
            ),
        }
        predictor.predict_batch(batches[0])  # Compiles.
        seconds: dict[str, list[float]] = {stage: [] for stage in stages}
        for _ in range(_REPEATS.value):
            for stage, run in stages.items():
                start = time.perf_counter()
                run()
                seconds[stage].append(time.perf_counter() - start)
    _print(plan.grid.num_windows, seconds)


def _print(num_windows: int, seconds: dict[str, list[float]]) -> None:
    print(f"{_MODEL.value}, {_SIDE.value} x {_SIDE.value} px, {num_windows} windows, median of {_REPEATS.value}")
    print(f"{'stage':28} {'seconds':>8} {'windows/s':>10}")
    for stage, values in seconds.items():
        median = statistics.median(values)
        print(f"{stage:28} {median:8.2f} {num_windows / median:10.0f}")
    bare, mapped, written = seconds.values()
    ratios = [first / second for first, second in zip(bare, mapped)]
    whole = [first / (second + third) for first, second, third in zip(bare, mapped, written)]
    for title, values in (("without writing the map", ratios), ("with writing the map", whole)):
        listed = " ".join(f"{value:.2f}" for value in values)
        print(f"share of the bare model's windows/s, {title}: {statistics.median(values):.2f} ({listed})")


if __name__ == "__main__":
    run_command(main)
