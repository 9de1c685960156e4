r"""Converts patch folders of BigEarthNet to sharded TFRecords with a manifest.

    python -m tfrecord_tools.convert --s2_dir=BigEarthNet-v1.0 --s1_dir=BigEarthNet-S1-v1.0 --output_dir=records

With --s1_dir alone or --s2_dir alone only that sensor is converted; with both a record holds the pair. Interrupted at
any point and started again, it goes on with the shards that are missing.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import tqdm
from absl import flags

from bigearth_tf.bands import S1, S2_ALL, get_bands
from bigearth_tf.datasets import get_dataset
from bigearth_tf.labels import NOMENCLATURES
from bigearth_tf.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Manifest,
    Shard,
    band_row,
    read_manifest,
    write_manifest,
    write_text_atomically,
)
from bigearth_tf.runtime import package_versions, run_command
from tfrecord_tools import shards
from tfrecord_tools.patch_lists import EXCLUSION_LISTS, official_lists_folder, read_patch_lists

_S2_DIR = flags.DEFINE_string("s2_dir", None, "Folder of the Sentinel-2 patches.")
_S1_DIR = flags.DEFINE_string("s1_dir", None, "Folder of the Sentinel-1 patches.")
_LISTS_DIR = flags.DEFINE_string(
    "lists_dir", None, "Folder with lists of splits, exclusions and mates; default: the official ones."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write; made if need be.", required=True)
_NOMENCLATURE = flags.DEFINE_enum("nomenclature", "19", list(NOMENCLATURES), "Classes of the labels.")
_EXCLUDE = flags.DEFINE_list(
    "exclude", list(EXCLUSION_LISTS), f"Leave out patches for these reasons, of {', '.join(EXCLUSION_LISTS)}."
)
_PARTIAL = flags.DEFINE_bool("partial_archive", False, "Convert what is there although listed patches are missing.")
_SHARD_MB = flags.DEFINE_float("shard_mb", 128.0, "Wanted size of a shard in 10^6 bytes.", lower_bound=0.1)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", None, "Number of shards of each split, instead.", lower_bound=1)
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that write shards.", lower_bound=1)


def main() -> None:
    """Converts, as the flags say."""
    unknown = sorted(set(_EXCLUDE.value) - set(EXCLUSION_LISTS))
    if unknown:
        raise ValueError(f"--exclude={','.join(unknown)}: unknown; allowed are {', '.join(EXCLUSION_LISTS)}.")
    if not _S2_DIR.value and not _S1_DIR.value:
        raise ValueError("Name the patches with --s2_dir, --s1_dir, or both.")
    manifest = convert(
        output_dir=Path(_OUTPUT_DIR.value),
        s2_dir=_S2_DIR.value,
        s1_dir=_S1_DIR.value,
        lists_dir=_LISTS_DIR.value,
        nomenclature=_NOMENCLATURE.value,
        exclude=_EXCLUDE.value,
        partial_archive=_PARTIAL.value,
        shard_mb=_SHARD_MB.value,
        num_shards=_NUM_SHARDS.value,
        workers=_WORKERS.value,
    )
    for split in manifest.splits:
        print(f"{split}: {manifest.num_records(split)} records in {len(manifest.split_shards(split))} shards")
    for reason, count in manifest.exclusions.items():
        print(f"left out, {reason}: {count}")
    print(f"wrote {Path(_OUTPUT_DIR.value) / MANIFEST_NAME}")


def convert(
    *,
    output_dir: Path,
    s2_dir: str | None = None,
    s1_dir: str | None = None,
    lists_dir: str | None = None,
    nomenclature: str = "19",
    exclude: Sequence[str] = tuple(EXCLUSION_LISTS),
    partial_archive: bool = False,
    shard_mb: float = 128.0,
    num_shards: int | None = None,
    workers: int = 1,
) -> Manifest:
    """Writes the shards and the manifest of BigEarthNet v1 into `output_dir`, and returns the manifest.

    Raises:
        FileNotFoundError: A source folder, a list or a listed patch is missing.
        PatchError: A patch is broken.
        ValueError: `output_dir` holds another data set or other files.
    """
    from tfrecord_tools.sources import bigearthnet_v1  # GDAL is loaded here: --help must not wait for it.

    lists = read_patch_lists(Path(lists_dir) if lists_dir else official_lists_folder())
    refs, exclusions = bigearthnet_v1.list_patches(s2_dir, s1_dir, lists, exclude, partial_archive)
    spec = get_dataset("bigearthnet_v1")
    bands = get_bands((S2_ALL if s2_dir else ()) + (S1 if s1_dir else ()))
    plans = shards.plan_shards(refs, shards.record_bytes(bands), shard_mb, num_shards)
    options: dict[str, object] = {
        "nomenclature": nomenclature,
        "exclude": sorted(exclude),
        "bands": [band.name for band in bands],
    }
    options["plan_sha256"] = shards.plan_digest(plans, options)
    if _claim(output_dir, options):
        return read_manifest(output_dir)
    write = functools.partial(
        shards.write_shard,
        output_dir=output_dir,
        bands=bands,
        nomenclature=nomenclature,
        read_patch=bigearthnet_v1.read_patch,
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        dataset=spec.name,
        source=_origin(s2_dir or s1_dir or "") or spec.source,
        licence=spec.licence,
        label_kind=spec.label_kind,
        class_names=NOMENCLATURES[nomenclature],
        bands=tuple(band_row(band) for band in bands),
        shards=tuple(_write_all(plans, write, workers)),
        exclusions=exclusions,
        options=options,
        versions=package_versions(),
    )
    write_manifest(manifest, output_dir)
    shutil.rmtree(output_dir / shards.WORK_DIR)
    return manifest


def _origin(patches_dir: str) -> str | None:
    """Returns what made the patches, if it was not a satellite: the note that `tfrecord_tools.synthesize` leaves."""
    note = Path(patches_dir).parent / "synthesize.json"
    return f"synthetic patches of tfrecord_tools.synthesize, {note.read_text()}" if note.exists() else None


def _claim(output_dir: Path, options: dict[str, object]) -> bool:
    """Takes the folder for this conversion; returns whether the conversion is already complete in it."""
    complete = (output_dir / MANIFEST_NAME).exists()
    plan_file = output_dir / shards.WORK_DIR / "plan.json"
    if complete:
        held = read_manifest(output_dir).options
    elif plan_file.exists():
        held = json.loads(plan_file.read_text(encoding="utf-8"))
    elif output_dir.exists() and any(output_dir.iterdir()):
        raise ValueError(f"{output_dir}: holds other files. Name a new or empty folder with --output_dir.")
    else:
        plan_file.parent.mkdir(parents=True)
        write_text_atomically(plan_file, json.dumps(options))
        held = options
    if held != options:
        different = [key for key in options if held.get(key) != options[key]]
        raise ValueError(
            f"{output_dir}: holds another data set, which differs in {', '.join(different)} "
            f"({'; '.join(f'{key}: {held.get(key)} there, {options[key]} here' for key in different)}). "
            "Name another folder with --output_dir, or delete this one."
        )
    return complete


def _write_all(
    plans: Sequence[shards.ShardPlan], write: Callable[[shards.ShardPlan], Shard], workers: int
) -> list[Shard]:
    """Returns the rows of all shards, in the order of `plans`; the first broken patch stops the rest."""
    rows: dict[str, Shard] = {}
    total = sum(len(plan.refs) for plan in plans)
    context = multiprocessing.get_context("spawn")
    with (
        tqdm.tqdm(total=total, desc="convert", unit="patch", dynamic_ncols=True) as progress,
        concurrent.futures.ProcessPoolExecutor(min(workers, len(plans)), mp_context=context) as pool,
    ):
        futures = [pool.submit(write, plan) for plan in plans]
        try:
            for future in concurrent.futures.as_completed(futures):
                row = future.result()
                rows[row.name] = row
                progress.update(row.num_records)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [rows[plan.name] for plan in plans]


if __name__ == "__main__":
    run_command(main)
