"""What each rank runs on: host, device, cores, scratch space, clock, and the speed of the network between the ranks."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bigearth_tf.distributed.collectives import gather, mean_of_ranks
from bigearth_tf.distributed.rendezvous import host_name
from bigearth_tf.distributed.replica import Replica

_ALLREDUCE_BYTES = (1 << 12, 1 << 16, 1 << 20, 1 << 24, 1 << 26)
_REPEATS = 3
# Larger allreduces are skipped if the network is so slow that all of them together would take longer.
_ALLREDUCE_BUDGET_S = 8.0
_LARGEST_SKEW_S = 1.0
_LEAST_SCRATCH_BYTES = 1e9


@dataclasses.dataclass(frozen=True)
class RankReport:
    """Host and hardware of a rank. `gpu_id` is "" on a CPU, or if the driver does not report it.

    `visible` is CUDA_VISIBLE_DEVICES, None if it is not set. `scratch_bytes` are free.
    """

    host: str
    device: str
    gpu_id: str
    visible: str | None
    cores: int
    scratch_bytes: int


def report_rank(scratch: str) -> RankReport:
    """Returns the report of this rank.

    Args:
        scratch: Folder whose free space is reported.

    Raises:
        OSError: There is no such folder.
    """
    gpus = tf.config.get_visible_devices("GPU")
    name, gpu_id = "CPU", ""
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        gpu_id = _read_gpu_id(int(gpus[0].name.rpartition(":")[2]))
    free = shutil.disk_usage(scratch).free
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return RankReport(host_name(), name, gpu_id, visible, len(os.sched_getaffinity(0)), free)


def _read_gpu_id(index: int) -> str:
    """Returns the UUID of a GPU; indices, also in CUDA_VISIBLE_DEVICES, may start from 0 in every task."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        device, uuid = ctypes.c_int(), ctypes.create_string_buffer(16)
        # The second version also distinguishes the parts of a GPU (MIG).
        read = getattr(cuda, "cuDeviceGetUuid_v2", cuda.cuDeviceGetUuid)
        failed = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), index) or read(uuid, device)
    except (OSError, AttributeError):
        return ""
    return "" if failed else f"GPU-{uuid.raw.hex()}"


def measure_clock_offsets(replica: Replica, rounds: int = 5) -> list[float]:
    """Returns how far the clock of each rank is ahead of rank 0's, in seconds, to within the time of an allreduce."""
    times = []
    for _ in range(rounds):
        mean_of_ranks(tf.zeros([]), replica).numpy()  # All ranks leave the allreduce at about the same time.
        times.append(time.time())
    table = np.array(gather(times, replica))
    return np.median(table - table[0], axis=1).tolist()


def measure_allreduce(replica: Replica) -> dict[int, float]:
    """Returns number of bytes -> seconds of an allreduce, the same on all ranks."""
    seconds: dict[int, float] = {}
    spent, last = 0.0, 0
    for num_bytes in _ALLREDUCE_BYTES:
        expected = seconds[last] * num_bytes / last if last else 0.0
        if spent + expected * (1 + _REPEATS) > _ALLREDUCE_BUDGET_S:
            break
        seconds[num_bytes] = _time_allreduce(num_bytes, replica)
        spent, last = spent + seconds[num_bytes] * (1 + _REPEATS), num_bytes
    return seconds


def _time_allreduce(num_bytes: int, replica: Replica) -> float:
    """Returns the median seconds of an allreduce on the slowest rank."""
    values, times = tf.zeros([num_bytes // 4]), []
    for _ in range(1 + _REPEATS):
        started = time.perf_counter()
        mean_of_ranks(values, replica)[0].numpy()
        times.append(time.perf_counter() - started)
    return max(gather(float(np.median(times[1:])), replica))  # The first allreduce sets up connections.


def format_reports(reports: Sequence[RankReport], offsets_s: Sequence[float], seconds: dict[int, float]) -> str:
    """Returns a table of the ranks and a table of allreduce times, as text.

    Args:
        reports: In the order of ranks.
        offsets_s: As from `measure_clock_offsets`.
        seconds: As from `measure_allreduce`.
    """
    ranks, hosts = len(reports), len({report.host for report in reports})
    lines = [f"ranks: {ranks}, hosts: {hosts}", "  rank  host              cores  scratch free    clock  device"]
    for rank, (report, offset) in enumerate(zip(reports, offsets_s)):
        visible = "" if report.visible is None else f" (CUDA_VISIBLE_DEVICES={report.visible})"
        lines.append(
            f"  {rank:4d}  {report.host:16s}  {report.cores:5d}  {report.scratch_bytes / 1e9:9.1f} GB  "
            f"{offset:+6.3f} s  {report.device}{visible}"
        )
    # Share of the bytes that a rank sends, and receives, in a ring allreduce: the speed is then comparable to a link's.
    share = 2 * (ranks - 1) / ranks
    lines.append("  allreduce      time       bandwidth of a rank's link")
    for num_bytes, each in seconds.items():
        lines.append(f"  {num_bytes >> 10:6d} KiB  {1e3 * each:8.2f} ms  {share * num_bytes / each / 1e6:9.1f} MB/s")
    return "\n".join(lines)


def find_warnings(reports: Sequence[RankReport], offsets_s: Sequence[float]) -> list[str]:
    """Returns what is unusual but does no harm to the result, a sentence each."""
    found = []
    for rank, (report, offset) in enumerate(zip(reports, offsets_s)):
        if abs(offset) > _LARGEST_SKEW_S:
            found.append(
                f"the clock of rank {rank} on {report.host} is {offset:+.1f} s off rank 0's. The result does not "
                "depend on it, but times in the logs of ranks cannot be compared; ask the administrator for NTP."
            )
        if report.scratch_bytes < _LEAST_SCRATCH_BYTES:
            found.append(f"rank {rank} on {report.host} has {report.scratch_bytes / 1e6:.0f} MB of scratch left.")
        if report.device == "CPU" and report.visible not in (None, "", "-1", "NoDevFiles"):
            found.append(
                f"rank {rank} on {report.host} was given a GPU (CUDA_VISIBLE_DEVICES={report.visible}), but TensorFlow "
                "sees none: it is a build for CPUs, or driver and CUDA do not match."
            )
    for name, values in (("GPUs", {r.device for r in reports}), ("cores", {r.cores for r in reports})):
        if len(values) > 1:
            found.append(
                f"ranks have different {name} ({', '.join(map(str, sorted(values)))}): the slowest sets the pace."
            )
    return found
