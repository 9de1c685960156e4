"""Shows what a data set contains: its manifest as text, class frequencies as bars, and sample patches.

    python -m tfrecord_tools.inspect --data_dir=records --output_dir=inspection

The text needs only the manifest and is printed at once; `classes.png` and `samples.png` follow, and the same as PDF,
unless --noplots.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from absl import flags

from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.command import run_command

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with a manifest and its shards.", required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "runs/inspection", "Folder for classes.png and samples.png, and both as PDF."
)
_PLOTS = flags.DEFINE_bool("plots", True, "Write the images.")
_SAMPLES = flags.DEFINE_integer("samples", 12, "Patches on the contact sheet; 0 for none.", lower_bound=0)
_SPLIT = flags.DEFINE_string("split", None, "Split of the samples; default: train, or the first.")


def main() -> None:
    """Prints the text, and writes the images."""
    from tfrecord_tools.records.describe_dataset import class_chart, describe

    dataset = ShardedDataset.open(_DATA_DIR.value)
    manifest = dataset.manifest
    split = _SPLIT.value or ("train" if "train" in manifest.splits else next(iter(manifest.splits), "train"))
    dataset.shards(split)
    print(describe(manifest) + "\n")
    print(class_chart(manifest, shutil.get_terminal_size().columns, ascii_only=not _shows_blocks()))
    if _PLOTS.value:
        _plot(dataset, split)


def _shows_blocks() -> bool:
    """Whether the terminal can show block characters."""
    try:
        "█▏".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _plot(dataset: ShardedDataset, split: str) -> None:
    # TensorFlow and matplotlib are loaded here: the text must not wait for them.
    from tfrecord_tools.records.plot_dataset import plot_class_frequencies, plot_samples
    from tfrecord_tools.records.stored_records import sample_records

    output_dir = Path(_OUTPUT_DIR.value)
    output_dir.mkdir(parents=True, exist_ok=True)
    paths = plot_class_frequencies(output_dir / "classes", dataset.manifest)
    print(f"\nwrote {' and '.join(map(str, paths))}")
    records = sample_records(dataset, split, _SAMPLES.value)
    if records:
        paths = plot_samples(output_dir / "samples", dataset.manifest, split, records)
        print(f"wrote {' and '.join(map(str, paths))}")


if __name__ == "__main__":
    run_command(main)
