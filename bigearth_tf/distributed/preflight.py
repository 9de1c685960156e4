"""Checks before the first step that the ranks fit together; otherwise all of them end and name the rank and the remedy.

Differences that do no harm are only logged: clocks (only times in logs depend on them; ranks synchronize by
collectives, and each rank measures its time limits by its own clock), cores, names of GPUs, and free scratch space.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from bigearth_tf.data.manifest import Manifest, manifest_digest
from bigearth_tf.distributed import rank_report
from bigearth_tf.distributed.collectives import gather
from bigearth_tf.distributed.consensus import RanksDiffer, check_ranks_agree, run_on_all_ranks
from bigearth_tf.distributed.rank_report import RankReport
from bigearth_tf.distributed.replica import Replica, convert_lost_rank_errors
from bigearth_tf.runtime.provenance import git_commit, package_versions

_REMEDIES = {
    "software": "Start every rank from one environment and one checkout, complete and the same on every node.",
    "kind of device": (
        "Give every rank a GPU of its own, with as many tasks as GPUs on a node, or hide all GPUs: "
        "CUDA_VISIBLE_DEVICES=''."
    ),
    "config and data": (
        "Give every rank the same flags, and data of the same content: `python -m tfrecord_tools.verify` checks them."
    ),
    "whether the run is complete": "--workdir must be one folder that every node sees.",
}


def run_preflight(replica: Replica, scratch: str = "") -> None:
    """Checks that software and devices of the ranks fit together; rank 0 logs hosts, clocks and network speed.

    Args:
        replica: This rank; a single rank needs no preflight.
        scratch: Folder on each host's own disk; "" for the folder of temporary files.

    Raises:
        RanksDiffer: On every rank; says which rank differs, how, and what to do.
        ConnectionError: Another rank is lost.
    """
    if replica.world_size == 1:
        return
    with convert_lost_rank_errors(replica):
        own = run_on_all_ranks(lambda: rank_report.report_rank(scratch or tempfile.gettempdir()), replica)
        reports = gather(own, replica)
        _check("software", _describe_software(replica), replica)
        _check("kind of device", "CPU" if own.device == "CPU" else "GPU", replica)
        _check_no_gpu_is_shared(reports)
        offsets_s = rank_report.measure_clock_offsets(replica)
        seconds = rank_report.measure_allreduce(replica)
    if replica.is_chief:
        logging.info("pre-flight: %s", rank_report.format_reports(reports, offsets_s, seconds))
        for warning in rank_report.find_warnings(reports, offsets_s):
            logging.warning("pre-flight: %s", warning)


def check_same_config_and_data(settings: dict[str, Any], manifest: Manifest, complete: bool, replica: Replica) -> None:
    """Checks that all ranks have the same settings and data, and agree on whether the run is complete.

    Args:
        settings: What decides the result, without paths.
        manifest: Of this rank's data.
        complete: Whether the run is already complete.
        replica: This rank.

    Raises:
        RanksDiffer: On every rank; names what differs.
    """
    data = manifest_digest(manifest)
    _check("config and data", {**settings, "manifest_sha256": data}, replica)
    _check("whether the run is complete", complete, replica)
    if replica.is_chief and replica.world_size > 1:
        config = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        logging.info("pre-flight: config %s, data %s on all ranks", config[:12], data[:12])


def _check(name: str, value: Any, replica: Replica) -> None:
    check_ranks_agree({name: value}, replica, _REMEDIES[name])


def _describe_software(replica: Replica) -> dict[str, Any]:
    commits = gather(git_commit(), replica)
    # A host without git does not know the commit: then the commits are not compared.
    commit = {"git_commit": commits[replica.rank]} if all(commits) else {}
    return {**package_versions(), **commit, "code_sha256": _digest_code()}


def _digest_code() -> str:
    """Returns a hash of the library's source: a checkout may differ from its commit."""
    hashed, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        hashed.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()[:16]


def _check_no_gpu_is_shared(reports: Sequence[RankReport]) -> None:
    owners: dict[str, int] = {}
    for rank, report in enumerate(reports):
        if report.gpu_id and owners.setdefault(report.gpu_id, rank) != rank:
            raise RanksDiffer(
                f"Ranks {owners[report.gpu_id]} and {rank} on {report.host} share one GPU ({report.device}, "
                f"{report.gpu_id}; rank {rank} has CUDA_VISIBLE_DEVICES={report.visible}). "
                + _REMEDIES["kind of device"]
            )
