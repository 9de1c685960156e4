"""Do the ranks of a run fit together? Looked at before the first step: what would spoil the run stops it on all ranks.

What may differ without harm is told: clocks, of which nothing but times in logs depends (what must be in step waits
for a collective, and every time limit counts on its own rank), cores, names of GPUs, and room on scratch.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from bigearth_tf.data.manifest import Manifest, manifest_digest
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.consensus import RanksDiffer, check_equal, run_on_all_ranks
from bigearth_tf.distributed.rendezvous import host_name
from bigearth_tf.distributed.replica import Replica, peer_errors
from bigearth_tf.runtime.provenance import git_commit, package_versions

_ALLREDUCE_BYTES = (1 << 12, 1 << 16, 1 << 20, 1 << 24, 1 << 26)
_REPEATS = 3
# Larger sums are left out where the network is so slow that they would take longer in all.
_ALLREDUCE_BUDGET_S = 8.0
_LARGEST_SKEW_S = 1.0
_LEAST_SCRATCH_BYTES = 1e9
_REMEDIES = {
    "software": "Start every rank from one environment and one checkout, whole and the same on every node.",
    "kind of device": (
        "Give every rank a GPU of its own, as many tasks as GPUs on a node, or hide them all: CUDA_VISIBLE_DEVICES=''."
    ),
    "config and data": (
        "Give every rank the same flags, and data of the same content: `python -m tfrecord_tools.verify` checks them."
    ),
    "whether the run is complete": "--workdir must be one folder that every node sees.",
}


@dataclasses.dataclass(frozen=True)
class _Report:
    """What a rank is and has. `gpu_id` is "" on a CPU and where the driver does not tell."""

    host: str
    device: str
    gpu_id: str
    visible: str | None
    cores: int
    scratch_bytes: int


def look_around(replica: Replica, scratch: str = "") -> None:
    """Compares what the ranks run and run on, and logs on rank 0 what there is and how quickly ranks reach one another.

    Args:
        replica: This rank; nothing is done where it is the only one.
        scratch: Folder on each host's own disk; "" for the one of temporary files.

    Raises:
        RanksDiffer: On every rank, saying which rank differs, how, and what to do.
        ConnectionError: Another rank is gone.
    """
    if replica.world_size == 1:
        return
    with peer_errors(replica):
        report = run_on_all_ranks(lambda: _report(scratch or tempfile.gettempdir()), replica)
        reports = collectives.gather(report, replica)
        _check("software", _software(replica), replica)
        _check("kind of device", "CPU" if report.device == "CPU" else "GPU", replica)
        _check_gpus_are_apart(reports)
        offsets = collectives.clock_offsets(replica)
        seconds = _time_allreduce(replica)
    if replica.is_chief:
        logging.info("pre-flight: %s", "\n".join(_lines(reports, offsets, seconds)))
        for warning in _warnings(reports, offsets):
            logging.warning("pre-flight: %s", warning)


def check_same_work(settings: dict[str, Any], manifest: Manifest, complete: bool, replica: Replica) -> None:
    """Checks that all ranks are about to do the same with the same data.

    Args:
        settings: What decides the work, without places.
        manifest: Of this rank's data.
        complete: Whether the work is done already.
        replica: This rank.

    Raises:
        RanksDiffer: On every rank, naming what differs.
    """
    data = manifest_digest(manifest)
    _check("config and data", {**settings, "manifest_sha256": data}, replica)
    _check("whether the run is complete", complete, replica)
    if replica.is_chief and replica.world_size > 1:
        config = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        logging.info("pre-flight: config %s, data %s on all ranks", config[:12], data[:12])


def _check(name: str, value: Any, replica: Replica) -> None:
    check_equal({name: value}, replica, _REMEDIES[name])


def _software(replica: Replica) -> dict[str, Any]:
    commits = collectives.gather(git_commit(), replica)
    # A host without git cannot tell.
    commit = {"git_commit": commits[replica.rank]} if all(commits) else {}
    return {**package_versions(), **commit, "code_sha256": _code_digest()}


def _code_digest() -> str:
    """Returns a hash of the library's source: a checkout may differ from its commit."""
    hashed, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        hashed.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()[:16]


def _report(scratch: str) -> _Report:
    gpus = tf.config.get_visible_devices("GPU")
    name, gpu_id = "CPU", ""
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        gpu_id = _gpu_id(int(gpus[0].name.rpartition(":")[2]))
    free = shutil.disk_usage(scratch).free
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _Report(host_name(), name, gpu_id, visible, len(os.sched_getaffinity(0)), free)


def _gpu_id(index: int) -> str:
    """Returns the UUID of the GPU of an index: indices and CUDA_VISIBLE_DEVICES may count from 0 in every task."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        device, uuid = ctypes.c_int(), ctypes.create_string_buffer(16)
        # The second form tells the parts of a GPU (MIG) apart, too.
        read = getattr(cuda, "cuDeviceGetUuid_v2", cuda.cuDeviceGetUuid)
        failed = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), index) or read(uuid, device)
    except (OSError, AttributeError):
        return ""
    return "" if failed else f"GPU-{uuid.raw.hex()}"


def _check_gpus_are_apart(reports: Sequence[_Report]) -> None:
    held: dict[str, int] = {}
    for rank, report in enumerate(reports):
        if report.gpu_id and held.setdefault(report.gpu_id, rank) != rank:
            raise RanksDiffer(
                f"Ranks {held[report.gpu_id]} and {rank} on {report.host} share one GPU ({report.device}, "
                f"{report.gpu_id}; rank {rank} has CUDA_VISIBLE_DEVICES={report.visible}). "
                + _REMEDIES["kind of device"]
            )


def _time_allreduce(replica: Replica) -> dict[int, float]:
    """Returns seconds by bytes, the same on all ranks."""
    seconds: dict[int, float] = {}
    spent, last = 0.0, 0
    for num_bytes in _ALLREDUCE_BYTES:
        expected = seconds[last] * num_bytes / last if last else 0.0
        if spent + expected * (1 + _REPEATS) > _ALLREDUCE_BUDGET_S:
            break
        seconds[num_bytes] = collectives.allreduce_seconds(num_bytes, _REPEATS, replica)
        spent, last = spent + seconds[num_bytes] * (1 + _REPEATS), num_bytes
    return seconds


def _lines(reports: Sequence[_Report], offsets: Sequence[float], seconds: dict[int, float]) -> list[str]:
    ranks, hosts = len(reports), len({report.host for report in reports})
    lines = [f"ranks: {ranks}, hosts: {hosts}", "  rank  host              cores  scratch free    clock  device"]
    for rank, (report, offset) in enumerate(zip(reports, offsets)):
        visible = "" if report.visible is None else f" (CUDA_VISIBLE_DEVICES={report.visible})"
        lines.append(
            f"  {rank:4d}  {report.host:16s}  {report.cores:5d}  {report.scratch_bytes / 1e9:9.1f} GB  "
            f"{offset:+6.3f} s  {report.device}{visible}"
        )
    # What each rank sends and receives of an allreduce by a ring, which is what a link's speed is compared with.
    share = 2 * (ranks - 1) / ranks
    lines.append("  allreduce      time       bandwidth of a rank's link")
    for num_bytes, each in seconds.items():
        lines.append(f"  {num_bytes >> 10:6d} KiB  {1e3 * each:8.2f} ms  {share * num_bytes / each / 1e6:9.1f} MB/s")
    return lines


def _warnings(reports: Sequence[_Report], offsets: Sequence[float]) -> list[str]:
    found = []
    for rank, (report, offset) in enumerate(zip(reports, offsets)):
        if abs(offset) > _LARGEST_SKEW_S:
            found.append(
                f"the clock of rank {rank} on {report.host} is {offset:+.1f} s off rank 0's. The run is not spoilt, "
                "but times in the logs of ranks do not compare; ask the administrator for NTP."
            )
        if report.scratch_bytes < _LEAST_SCRATCH_BYTES:
            found.append(f"rank {rank} on {report.host} has {report.scratch_bytes / 1e6:.0f} MB of scratch left.")
        if report.device == "CPU" and report.visible not in (None, "", "-1", "NoDevFiles"):
            found.append(
                f"rank {rank} on {report.host} was given a GPU (CUDA_VISIBLE_DEVICES={report.visible}), but TensorFlow "
                "sees none: is it a build for CPUs, or do driver and CUDA not match?"
            )
    for name, values in (("GPUs", {r.device for r in reports}), ("cores", {r.cores for r in reports})):
        if len(values) > 1:
            found.append(
                f"ranks have different {name} ({', '.join(map(str, sorted(values)))}): the slowest sets the pace."
            )
    return found
