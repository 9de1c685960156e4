"""Messages between the launcher and its tasks, as JSON and as environment variables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from bigearth_tf.launch.layout import Place

_PREFIX = "BIGEARTH_LAUNCH_"


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """Settings that the launcher passes to a task in its environment.

    Attributes:
        address: Address of the launcher's server.
        port: Port of the launcher's server.
        scope: Name on the server that only the tasks of this launch know.
        log_dir: Folder for the log of each rank.
        fail_within_s: Time within which a failure of one rank ends the job.
    """

    address: str
    port: int
    scope: str
    log_dir: Path
    fail_within_s: float

    def to_environ(self) -> dict[str, str]:
        """Returns the settings as environment variables."""
        return {f"{_PREFIX}{name.upper()}": str(value) for name, value in vars(self).items()}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> TaskSettings:
        """Returns the settings that `to_environ` wrote."""
        address, port, scope, log_dir, fail_within_s = (
            environ[f"{_PREFIX}{field.name.upper()}"] for field in dataclasses.fields(cls)
        )
        return cls(address, int(port), scope, Path(log_dir), float(fail_within_s))


@dataclasses.dataclass(frozen=True)
class Greeting:
    """The first message of a task.

    Attributes:
        host: Name of its host.
        address: Address at which the other nodes reach that host; "" if there is a problem.
        device: GPU that the rank will use, or "cpu".
        place: Place of the rank among all ranks.
        problem: Why the rank cannot start; "" if it can.
        remark: What users should know; "" for nothing.
    """

    host: str
    address: str
    device: str
    place: Place
    problem: str = ""
    remark: str = ""

    def to_json(self) -> str:
        """Returns the message as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Greeting:
        """Returns the message that `to_json` wrote."""
        fields = json.loads(text)
        place = fields.pop("place")
        return cls(**fields, place=Place(**{**place, "tasks_per_node": tuple(place["tasks_per_node"])}))


@dataclasses.dataclass(frozen=True)
class Ending:
    """The last message of a task: how the process of its rank ended.

    Attributes:
        code: Exit code, 128 + N if it was ended by signal N.
        message: Why it ended; "" if it succeeded.
        is_consequence: Whether the failure of another rank, or of the launcher, is the reason.
    """

    code: int
    message: str = ""
    is_consequence: bool = False

    def to_json(self) -> str:
        """Returns the message as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Ending:
        """Returns the message that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclasses.dataclass(frozen=True)
class Orders:
    """Orders of the launcher to all tasks; each task asks for them every few moments.

    Attributes:
        go: Run the command.
        signal: Number of a signal to send to the command once; 0 for none.
        abort: End the command, because another rank has failed.
        leave: End the task.
    """

    go: bool = False
    signal: int = 0
    abort: bool = False
    leave: bool = False

    def to_json(self) -> str:
        """Returns the orders as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Orders:
        """Returns the orders that `to_json` wrote."""
        return cls(**json.loads(text))
