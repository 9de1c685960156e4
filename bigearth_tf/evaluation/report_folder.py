"""The folder of an evaluation's report, which holds the evaluation of one split of one data set."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Optional

from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runs.record import digest_shards

EVALUATION_NAME = "evaluation.json"


def choose_report_folder(
    workdir: str | os.PathLike, data_dir: str | os.PathLike, split: str, output: Optional[str] = None
) -> Path:
    """Returns the folder of a report: `output`, or `<workdir>/evaluation/<split>`.

    Raises:
        FileNotFoundError: The data set has no manifest.
        ValueError: The folder holds the evaluation of other records.
    """
    folder = Path(output) if output else Path(workdir) / "evaluation" / split
    path = folder / EVALUATION_NAME
    if path.exists():
        about = json.loads(path.read_text(encoding="utf-8")).get("about", {})
        if about.get("shards_sha256") != digest_shards(ShardedDataset.open(data_dir).shards(split)):
            raise ValueError(
                f"{path}: is the evaluation of other records, of {about.get('dataset')}, {about.get('split')}. "
                "Name another --output."
            )
    return folder
