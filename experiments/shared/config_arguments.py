"""With which arguments does another command get the config that this one was given?"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags


def config_arguments(name: str = "config") -> list[str]:
    """Returns the file of a config flag and the fields that were overridden, as arguments."""
    flag = flags.FLAGS[name]
    fields = config_flags.get_override_values(flag)
    return [f"--{name}={config_flags.get_config_filename(flag)}", *(f"--{name}.{k}={v}" for k, v in fields.items())]
