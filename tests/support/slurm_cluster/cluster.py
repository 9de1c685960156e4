"""A SLURM cluster on one machine, on which each node is a namespace with its own network, name and processes.

munged, slurmctld and a slurmd for each node run as on a real cluster; they are children of one process and end with it.
Nothing is written outside the cluster's folder. It needs root, or unprivileged user namespaces.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).parent
NETWORK = "10.199.0"  # This network exists only inside the namespaces: several clusters may use it.
PROGRAMS = ("slurmctld", "slurmd", "srun", "munged", "ip", "unshare", "nsenter")
LIMIT_S = 240  # Limit of every wait, to end a test that hangs. No test measures how long something takes.
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")  # States of a job that has ended.
_PR_SET_PDEATHSIG = 1

# An ordinary user also needs a user namespace, whose root may create the others. The daemons refuse to run as that
# root: one more namespace turns it into the user again.
_IS_ROOT = os.getuid() == 0
_AS_USER = [] if _IS_ROOT else ["unshare", "--user", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"]
_UNSHARE = ["unshare", *([] if _IS_ROOT else ["--user", "--map-root-user"]), "--net", "--uts", "--mount", "--pid"]
_UNSHARE += ["--fork", "--kill-child", "--mount-proc"]
_ENTER = ["nsenter", "--net", "--uts", "--mount", "--pid"]

# Short intervals, and nothing that needs systemd, cgroups or a database.
CONF = """
ClusterName=test
SlurmctldHost=controller({network}.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
PlugStackConfig=/dev/null
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
JobRequeue=0
InactiveLimit=0
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout={slurmd_timeout_s}
MessageTimeout=10
TCPTimeout=5
MinJobAge=3600
SlurmdParameters=config_overrides
"""


def missing_programs() -> list[str]:
    """Returns the programs that a cluster needs and that are missing on this machine."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return [program for program in PROGRAMS if not shutil.which(program, path=path)]


def find_obstacle() -> str:
    """Returns why no cluster can be started here, and how to fix that; "" if one can."""
    if missing := missing_programs():
        return f"no {', '.join(missing)} here; `make slurm` installs what is missing on Debian and Ubuntu"
    try:
        name = _user_name()
    except KeyError as error:
        return f"SLURM accepts no user without a name: {error.args[0]}"
    probe = subprocess.run([*_UNSHARE, "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
    if probe.returncode:
        remedy = "sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0, or root"
        remedy = "a container needs --privileged" if _IS_ROOT else remedy
        return f"{name} may not create namespaces here ({probe.stderr.strip()}); what would help: {remedy}"
    return ""


def _user_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


class SlurmCluster:
    """A cluster that runs within a `with` block."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        cpus: int = 4,
        gpus: int = 0,
        slurmd_timeout_s: int = 300,
        scratch_mb: int = 100,
        own_name_at_loopback: bool = False,
    ) -> None:
        """Writes the configuration; entering the context starts the cluster.

        Args:
            folder: New folder for all files of the cluster, with a short path, because it will contain a socket.
            nodes: Number of nodes, which are called n1, n2, ...
            cpus: Number of cores that each node reports.
            gpus: Number of simulated GPUs of each node, which SLURM counts and binds.
            slurmd_timeout_s: After which SLURM marks a silent node as down.
            scratch_mb: Size of each node's own `scratch` in the folder.
            own_name_at_loopback: Whether each node resolves its own name to 127.0.1.1.
        """
        self.folder, self.num_nodes = folder, nodes
        settings = {
            "network": NETWORK,
            "nodes": nodes,
            "scratch_mb": scratch_mb,
            "own_name_at_loopback": "yes" if own_name_at_loopback else "",
            "as_user": f"'{' '.join(_AS_USER)}'",
        }
        for name in ("etc", "log", "state", "spool", "munge", "jobs", "dev", "scratch"):
            (folder / name).mkdir(parents=True)
        (folder / "munge").chmod(0o755)
        (folder / "settings").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        hosts = [("127.0.0.1", "localhost"), (f"{NETWORK}.1", "controller")]
        hosts += [(f"{NETWORK}.{10 + number}", f"n{number}") for number in range(1, nodes + 1)]
        (folder / "hosts").write_text("".join(f"{address} {name}\n" for address, name in hosts))
        (folder / "resolv.conf").write_text("")
        self._write_conf(cpus, gpus, slurmd_timeout_s)

    def _write_conf(self, cpus: int, gpus: int, slurmd_timeout_s: int) -> None:
        conf = CONF.format(network=NETWORK, folder=self.folder, user=_user_name(), slurmd_timeout_s=slurmd_timeout_s)
        resources = f"CPUs={cpus} RealMemory=2000"
        if gpus:
            for number in range(gpus):
                (self.folder / "dev" / f"gpu{number}").symlink_to("/dev/null")
            (self.folder / "gres.conf").write_text(
                f"AutoDetect=off\nName=gpu File={self.folder}/dev/gpu[0-{gpus - 1}]\n"
            )
            conf += "GresTypes=gpu\n"
            resources += f" Gres=gpu:{gpus}"
        for number in range(1, self.num_nodes + 1):
            conf += f"NodeName=n{number} NodeAddr={NETWORK}.{10 + number} {resources} State=UNKNOWN\n"
        conf += f"PartitionName=test Nodes=n[1-{self.num_nodes}] Default=YES MaxTime=INFINITE State=UP\n"
        (self.folder / "slurm.conf").write_text(conf)
        version = subprocess.run(
            ["slurmd", "-V"], env=self._environ(), capture_output=True, text=True, check=True
        ).stdout.split()[1]
        if tuple(map(int, version.split(".")[:2])) >= (
            23,
            11,
        ):  # slurmd requires it, though nothing uses it.
            plugin = "cgroup/v1" if version.startswith("23.11.") else "disabled"
            (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")

    def _environ(self) -> dict[str, str]:
        others = ("SLURM_", "SBATCH_", "HOROVOD_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{kept['PATH']}:/usr/sbin:/sbin"}

    def __enter__(self) -> SlurmCluster:
        """Starts the cluster and waits until every node is idle."""
        with (self.folder / "log" / "controller.log").open("w") as log:
            self._outer = subprocess.Popen(
                [*_UNSHARE, "bash", str(HERE / "controller.sh"), str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ(),
                preexec_fn=lambda: ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
            )  # fmt: skip
        end = time.monotonic() + LIMIT_S
        try:
            while not (self.folder / "ready").exists() or self.node_states() != ["idle"] * self.num_nodes:
                if time.monotonic() > end or self._outer.poll() is not None:
                    logs = "".join(path.read_text()[-2000:] for path in (self.folder / "log").iterdir())
                    raise TimeoutError(f"the cluster did not start:\n{logs}")
                time.sleep(0.1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all processes of the cluster at once; returns when they have ended."""
        if self._outer.poll() is None:
            first = self._children_of_outer()
            # When the first process of a process namespace ends, the kernel ends all others and waits for them.
            os.kill(int(first[0]) if first else self._outer.pid, signal.SIGKILL)
        self._outer.wait()

    def _children_of_outer(self) -> list[str]:
        return Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()

    def _inside(self, node: int | None, as_root: bool) -> list[str]:
        users = [] if _IS_ROOT else ["--user", "--preserve-credentials"]
        into = [*_ENTER, f"--wd={self.folder / 'jobs'}"]
        command = [*into, *users, "-t", self._children_of_outer()[0]]
        if node is not None:
            command += [*into, "-t", (self.folder / f"n{node}.pid").read_text().strip()]
        return command if as_root else [*command, *_AS_USER]

    def run(
        self,
        *command: object,
        node: int | None = None,
        check: bool = True,
        timeout_s: float = LIMIT_S,
        as_root: bool = False,
    ) -> str:
        """Runs a command as a user on the login node, or on a node; returns its output."""
        result = subprocess.run(
            [*self._inside(node, as_root), *map(str, command)],
            env=self._environ(), capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if check and result.returncode:
            raise RuntimeError(f"{command}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result.stdout + ("" if check else result.stderr)

    def node_states(self) -> list[str]:
        """Returns the state of each node, such as "idle"."""
        return self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split()

    def submit(self, *arguments: object, environ: dict[str, str] | None = None) -> Job:
        """Queues a job by sbatch; its output goes to `jobs/<job>.out` unless the script says otherwise."""
        variables = [f"{key}={value}" for key, value in (environ or {}).items()]
        sbatch = ["sbatch", "--parsable", "--output=%j.out", "--open-mode=append"]
        return Job(self, self.run("env", *variables, *sbatch, *arguments).strip())

    def crash(self, node: int) -> None:
        """Cuts the power of a node: its processes end at once, without a message to anyone."""
        self.cut(node)
        self.run("kill", "-9", (self.folder / f"n{node}.pid").read_text().strip(), as_root=True)
        time.sleep(0.5)
        self.run("ip", "link", "del", f"to-n{node}", check=False, as_root=True)

    def boot(self, node: int) -> None:
        """Starts a node again."""
        self.run("sh", "-c", f"echo {node} > {self.folder}/boot")

    def cut(self, node: int) -> None:
        """Cuts the network of a node."""
        self.run("ip", "link", "set", f"to-n{node}", "down", as_root=True)

    def heal(self, node: int) -> None:
        """Restores the network of a node."""
        self.run("ip", "link", "set", f"to-n{node}", "up", as_root=True)

    def kill_slurmd(self, node: int) -> None:
        """Kills the slurmd of a node; its tasks continue to run."""
        self.run("kill", "-9", (self.folder / f"slurmd.n{node}.pid").read_text().strip(), node=node)


class Job:
    """A queued job."""

    def __init__(self, cluster: SlurmCluster, number: str) -> None:
        """Takes the cluster and the id of the job."""
        self.cluster, self.number = cluster, number

    def __getitem__(self, field: str) -> str:
        """Returns a field of the job as SLURM reports it, such as "JobState"; "" if there is none."""
        match = re.search(rf"\b{field}=(\S*)", self.cluster.run("scontrol", "--oneliner", "show", "job", self.number))
        return match[1] if match else ""

    @property
    def output(self) -> str:
        """The output of the job so far."""
        path = self.cluster.folder / "jobs" / f"{self.number}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, timeout_s: float = LIMIT_S, states: tuple[str, ...] = ENDED) -> str:
        """Waits until the job is in one of the states, by default until it has ended; returns the state."""
        return self._wait_until(lambda: self["JobState"] in states, timeout_s, f"become {' or '.join(states)}")

    def wait_for(self, text: str, timeout_s: float = LIMIT_S) -> str:
        """Waits until the output matches a pattern; returns the state."""
        return self._wait_until(lambda: re.search(text, self.output), timeout_s, f"say {text!r}")

    def _wait_until(self, done, timeout_s: float, what: str) -> str:  # type: ignore[no-untyped-def]
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                facts = self.cluster.run("scontrol", "show", "job", self.number)
                raise TimeoutError(f"job {self.number} did not {what} within {timeout_s} s:\n{facts}\n{self.output}")
            time.sleep(0.3)
        return self["JobState"]
