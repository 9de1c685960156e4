"""The registry of models without TensorFlow, which takes seconds to load."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

_REGISTRY = "bigearth_tf.models.registry"
# What imports keras, and must be imported again with the real one.
_USERS_OF_KERAS = ("bigearth_tf.models", "bigearth_tf.layers")


@contextlib.contextmanager
def import_registry_without_tensorflow() -> Iterator[ModuleType]:
    """Yields `bigearth_tf.models.registry` for its functions that build no model: names and configs.

    The families import keras, but use it only when they build a model. While the context lasts, an empty module is in
    its place, unless it was loaded before. If a family needs it earlier, all get the real one.
    """
    if "keras" in sys.modules:
        yield importlib.import_module(_REGISTRY)
        return
    sys.modules["keras"] = empty = ModuleType("keras")
    setattr(empty, "applications", ModuleType("keras.applications"))  # noqa: B010 - mypy knows that a module has none
    try:
        registry = importlib.import_module(_REGISTRY)
        registry.list_models()  # Imports every family.
    except (ImportError, AttributeError):
        _forget()
        registry = importlib.import_module(_REGISTRY)
    try:
        yield registry
    finally:
        if sys.modules["keras"] is empty:
            _forget()


def _forget() -> None:
    for name in list(sys.modules):
        if name == "keras" or any(f"{name}.".startswith(f"{package}.") for package in _USERS_OF_KERAS):
            del sys.modules[name]
