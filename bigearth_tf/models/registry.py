"""Registry of the model zoo: lists the models, and creates a model or its config by name.

A family is a module of `families/` with a frozen dataclass `Config`, `VARIANTS` and `REFERENCE` (name -> Config), and
`encode(config, inputs, bands)`, which returns the features. `REFERENCE` contains the reference form of a name, which is
what the code of the benchmark (https://arxiv.org/abs/2111.09451) builds, defects included. A name that is not in it has
the default form only.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import keras

from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.layers.band_stack import band_inputs
from bigearth_tf.models import families


def list_models(pattern: str = "*") -> tuple[str, ...]:
    """Returns the names of the zoo that match a shell pattern, such as "wide_resnet_*"."""
    return tuple(sorted(name for name in _families() if fnmatch.fnmatchcase(name, pattern)))


def create_model(name: str, *, bands: str | Sequence[Band] = "S2", num_classes: int, **overrides: Any) -> keras.Model:
    """Returns an untrained model: `{band name: [B, size_px, size_px]}` in storage type -> logits float32 [B, K].

    The output of its layer `features` is that of the encoder [B, F].

    Args:
        name: One of `list_models()`.
        bands: Rows of bands, or a band set or band names of BigEarthNet; channels of one native size keep this order.
        num_classes: K.
        **overrides: Fields of the variant's config to replace, for example `width=4`.

    Raises:
        ValueError: The name or an override is unknown, or an override does not fit.
    """
    encoder = create_encoder(name, bands=bands, **overrides)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(encoder.output)
    return keras.Model(encoder.input, logits, name=name)


def create_encoder(name: str, *, bands: str | Sequence[Band] = "S2", **overrides: Any) -> keras.Model:
    """Returns an untrained encoder: `{band name: [B, size_px, size_px]}` in storage type -> features [B, F].

    Arguments and errors are those of `create_model`.
    """
    family = _family(name)
    config = model_config(name, **overrides)
    rows = get_bands(bands) if isinstance(bands, str) else tuple(bands)
    inputs = band_inputs(rows)
    return keras.Model(inputs, family.encode(config, inputs, rows), name=f"{name}_encoder")


def model_config(name: str, **overrides: Any) -> Any:
    """Returns the config of a name, with fields replaced.

    Raises:
        ValueError: The name or an override is unknown, or an override does not fit.
    """
    config = _family(name).VARIANTS[name]
    fields = [field.name for field in dataclasses.fields(config)]
    for field in overrides:
        if field not in fields:
            raise ValueError(f"Model {name} has no field {field!r}; {suggest(field, fields)}")
    return dataclasses.replace(config, **overrides)


def reference_config(name: str) -> Any:
    """Returns the config of the reference form of a name.

    Raises:
        ValueError: The name is unknown, or has no reference form.
    """
    configs = _family(name).REFERENCE
    if name not in configs:
        names = [other for other, family in _families().items() if other in family.REFERENCE]
        raise ValueError(f"Model {name} has no reference form; {suggest(name, names)}")
    return configs[name]


def reference_overrides(name: str) -> dict[str, Any]:
    """Returns the overrides of `create_model` for the reference form of a name: the fields that differ."""
    default, reference = _family(name).VARIANTS[name], reference_config(name)
    return changed_fields(default, reference)


def changed_fields(config: Any, changed: Any) -> dict[str, Any]:
    """Returns the fields of `changed` whose values differ from those of `config`, another config of the same family."""
    values = {field.name: getattr(changed, field.name) for field in dataclasses.fields(changed)}
    return {field: value for field, value in values.items() if value != getattr(config, field)}


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Returns the end of an error message: the allowed words similar to `word`, or all if there are none."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(word, allowed, n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else f"allowed: {', '.join(allowed)}"


def _family(name: str) -> ModuleType:
    found = _families()
    if name not in found:
        raise ValueError(f"Unknown model {name!r}; {suggest(name, found)}")
    return found[name]


def _families() -> dict[str, ModuleType]:
    """Returns model name -> module of its family."""
    found = {}
    for module in pkgutil.iter_modules(families.__path__):
        family = importlib.import_module(f"{families.__name__}.{module.name}")
        found.update(dict.fromkeys(family.VARIANTS, family))
    return found
