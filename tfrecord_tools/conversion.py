"""How does an archive become a data set? Plan the shards, write those that are missing, then the manifest."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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
from bigearth_tf.runtime import package_versions, progress_bar
from tfrecord_tools import shards
from tfrecord_tools.patch_lists import EXCLUSION_LISTS, official_lists_folder, read_patch_lists
from tfrecord_tools.sources import bigearthnet_v1


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
    if _claim(output_dir, options):  # Complete already.
        shutil.rmtree(output_dir / shards.WORK_DIR, ignore_errors=True)
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
    elif output_dir.exists() and any(path.name != shards.WORK_DIR for path in output_dir.iterdir()):
        raise ValueError(f"{output_dir}: holds other files. Name a new or empty folder with --output_dir.")
    else:
        plan_file.parent.mkdir(parents=True, exist_ok=True)
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
    with progress_bar(sum(len(plan.refs) for plan in plans), "convert", "patch") as progress:
        for row in map(write, plans) if workers == 1 else _in_processes(plans, write, workers):
            rows[row.name] = row
            progress.update(row.num_records)
    return [rows[plan.name] for plan in plans]


def _in_processes(
    plans: Sequence[shards.ShardPlan], write: Callable[[shards.ShardPlan], Shard], workers: int
) -> Iterator[Shard]:
    """Yields rows as they are ready. Spawned: a caller may hold threads that do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(plans)), mp_context=context) as pool:
        futures = [pool.submit(write, plan) for plan in plans]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
