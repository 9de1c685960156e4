"""Runs the whole pipeline on small data, in a few minutes on two cores, and prints each command before it runs it.

    python -m experiments.demo [--root=runs/demo]

Real and synthetic patches become TFRecords; a WideResNet-ECA is trained on the synthetic ones, scored and exported; the
exported model predicts the land cover of the real ones, and maps a synthetic scene whose true classes are known. Run
again, each command skips what is already done.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from pathlib import Path

from absl import flags

from bigearth_tf.runs.record import RunResult, read_result
from bigearth_tf.runtime.children import run_child
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.exit_codes import EXIT_BY_SIGNAL, EXIT_STOPPED

# Exit codes of a step that was asked to stop.
_INTERRUPTED = (EXIT_STOPPED, EXIT_BY_SIGNAL + signal.SIGINT)

_ROOT = flags.DEFINE_string("root", "runs/demo", "Folder for everything that the demo writes.")
_NUM_PATCHES = flags.DEFINE_integer("num_patches", 400, "Synthetic patches to create.", lower_bound=100)


def list_steps(root: str, num_patches: int) -> list[tuple[str, str]]:
    """Returns the title and the command of each step."""
    real, synthetic = f"{root}/real", f"{root}/synthetic"
    return [
        (
            "Unpack six real pairs of Sentinel-1 and Sentinel-2 patches",
            f"tfrecord_tools.example_patches --output_dir={real}",
        ),
        (
            "Create synthetic patches in the same layout",
            f"tfrecord_tools.synthesize --output_dir={synthetic} --num_patches={num_patches} --s1",
        ),
        (
            "Convert the real patches by the official lists, which exclude a snowy one",
            f"tfrecord_tools.convert --s2={real}/BigEarthNet-v1.0 --s1={real}/BigEarthNet-S1-v1.0 "
            f"--output_dir={root}/records/real --partial_archive",
        ),
        (
            "Convert the synthetic patches by their own lists",
            f"tfrecord_tools.convert --s2={synthetic}/BigEarthNet-v1.0 --s1={synthetic}/BigEarthNet-S1-v1.0 "
            f"--lists_dir={synthetic}/lists --output_dir={root}/records/synthetic --num_shards=4",
        ),
        ("Read the records again and check them", f"tfrecord_tools.verify --data_dir={root}/records/synthetic"),
        (
            "Train on the synthetic patches, and score the best epoch on the test split",
            f"experiments.train --config=experiments/configs/demo.py --data_dir={root}/records/synthetic "
            f"--workdir={root}/train",
        ),
        ("Export the model", f"experiments.export --workdir={root}/train --output_dir={root}/model"),
        (
            "Predict the land cover of the real patches with only the exported model",
            f"experiments.predict --model_dir={root}/model --s2={real}/BigEarthNet-v1.0 "
            f"--output_dir={root}/predictions",
        ),
        ("Create a synthetic scene of known classes", f"tfrecord_tools.synthesize_scene --output_dir={root}/scene"),
        (
            "Map the scene",
            f"experiments.map_scene --model_dir={root}/model --scene={root}/scene/bands --dn_offset=0 "
            f"--output={root}/map.tif",
        ),
        (
            "Score the map against the true classes",
            f"experiments.score_map --map={root}/map_top.tif --reference={root}/scene/truth.tif",
        ),
    ]


def main() -> None:
    """Runs every step and prints the results."""
    root = _ROOT.value
    started = time.monotonic()
    for title, arguments in list_steps(root, _NUM_PATCHES.value):
        print(f"\n== {title}\n$ python -m {arguments}", flush=True)
        step_started = time.monotonic()
        code = run_child([sys.executable, "-m", *shlex.split(arguments)])
        if code in _INTERRUPTED:
            sys.stderr.write("The demo was interrupted; run it again, and it continues from here.\n")
            sys.exit(code)
        if code:
            sys.exit(f"error: this step ended with exit code {code}; fix what it reports and run the demo again.")
        print(f"-- {time.monotonic() - step_started:.0f} s", flush=True)
    result = read_result(Path(root) / "train")
    assert isinstance(result, RunResult)
    ours, constant = result.test["micro_f1"], result.always_most_frequent_labels.test["micro_f1"]
    print(
        f"\n== Done in {time.monotonic() - started:.0f} s\n"
        f"synthetic test patches:  micro F1 {ours:.3f}; always the most frequent labels: {constant:.3f}\n"
        f"real patches:            {root}/predictions/predictions.png\n"
        f"                         The model has seen only synthetic land: do not believe its predictions on real\n"
        f"                         land, they only show the pipeline. Train on BigEarthNet for real use.\n"
        f"map of a scene:          {root}/map.png; map_top.tif and map.tif for QGIS\n"
        f"exported model:          {root}/model (its README.md is the model card)\n"
        f"training curves:         tensorboard --logdir={root}/train/tensorboard"
    )


if __name__ == "__main__":
    run_command(main)
