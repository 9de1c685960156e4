"""The config flag of this command as arguments for another command."""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags


def config_arguments(name: str = "config") -> list[str]:
    """Returns the arguments that set the file of a config flag and the overridden fields."""
    flag = flags.FLAGS[name]
    fields = config_flags.get_override_values(flag)
    return [f"--{name}={config_flags.get_config_filename(flag)}", *(f"--{name}.{k}={v}" for k, v in fields.items())]
