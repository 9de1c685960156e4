"""Writes the manifest of a conversion that several tasks shared, when all of them are done.

    python -m tfrecord_tools.finalize --output_dir=records

It reads the notes of the tasks, not the records, and takes seconds.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.command import run_command

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder into which the tasks wrote.", required=True)
_ALLOW_PROBLEMS = flags.DEFINE_integer("allow_problems", 0, "Leave out up to this many broken patches.", lower_bound=0)


def main() -> None:
    """Writes the manifest, and prints its summary."""
    from tfrecord_tools.conversion.finalization import finalize

    output_dir = Path(_OUTPUT_DIR.value)
    print(finalize(output_dir, _ALLOW_PROBLEMS.value).summary())
    print(f"wrote {output_dir / MANIFEST_NAME}")


if __name__ == "__main__":
    run_command(main)
