"""The flag `--config`: a file that returns a TrainConfig, whose fields `--config.field=value` overrides."""

from __future__ import annotations

import importlib.util
import os
import traceback
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from bigearth_tf.config import TrainConfig, check_types, list_fields

# The flag belongs to the command that calls `define_config`, whose --help then lists it.
flags.disclaim_key_flags()

_CONFIGS = Path(__file__).parents[1] / "configs"


def define_config(meaning: str, *, required: bool = False) -> flags.FlagHolder:
    """Defines `--config` and returns its holder; the help lists the fields of the config.

    Args:
        meaning: What the command does with the config.
        required: Whether the command needs one.
    """
    fields = [
        f"--config.{field.name}={field.default} ({field.kind.__name__}): {field.meaning}" for field in list_fields()
    ]
    text = "\n".join([f"File with a get_config() that returns a TrainConfig. {meaning}", "Its fields:", *fields])
    holder = config_flags.DEFINE_config_file("config", None, text)
    flag = flags.FLAGS["config"]
    flag.parser = _ConfigFileParser(flag.parser)
    if required:
        flags.mark_flag_as_required("config")
    return holder


def config_arguments() -> list[str]:
    """Returns the flag as arguments for another command: its file and the overridden fields."""
    flag = flags.FLAGS["config"]
    fields = config_flags.get_override_values(flag)
    return [f"--config={config_flags.get_config_filename(flag)}", *(f"--config.{k}={v}" for k, v in fields.items())]


class _ConfigFileParser(flags.ArgumentParser):
    """Loads a config file; says in one line what is wrong with it."""

    syntactic_help = "a Python file"

    def __init__(self, replaced: Any) -> None:
        """Takes the parser that ml_collections made, whose errors are tracebacks."""
        self.name = replaced.name

    def flag_type(self) -> str:
        """Returns the type of the flag, for --help."""
        return "config file"

    def parse(self, argument: Any) -> TrainConfig:
        """Returns what get_config() of a file returns; after a colon, an argument of get_config() may follow.

        Raises:
            ValueError: There is no such file, it cannot be run, or it does not return a TrainConfig.
        """
        if isinstance(argument, TrainConfig):
            return argument
        path, _, own_argument = argument.partition(":")
        if not Path(path).is_file():
            ours = ", ".join(sorted(str(file.name) for file in _CONFIGS.glob("[a-z]*.py")))
            raise ValueError(f"there is no such file; {_CONFIGS.parent.name}/{_CONFIGS.name} has {ours}")
        get_config = getattr(_run(path), "get_config", None)
        if not callable(get_config):
            raise ValueError("the file has no function get_config(); experiments/configs/demo.py is an example")
        try:
            config = get_config(own_argument) if own_argument else get_config()
        except Exception as error:
            raise ValueError(_describe(error, path)) from error
        if not isinstance(config, TrainConfig):
            kind = type(config).__name__
            raise ValueError(f"get_config() returned {kind}; expected a TrainConfig (bigearth_tf/config.py)")
        check_types(config)
        return config


def _run(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("config_of_flag", path)
    if spec is None or spec.loader is None:
        raise ValueError("expected a Python file, *.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(_describe(error, path)) from error
    return module


def _describe(error: Exception, path: str) -> str:
    """Returns an error with the last line of the file that it came from."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.abspath(frame.filename) == os.path.abspath(path)
    ]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}"
