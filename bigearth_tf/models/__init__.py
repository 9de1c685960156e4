"""Which models are there, and how is one made by name? Each family module has `VARIANTS` and `build`."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from bigearth_tf.bands import Band, get_bands


def list_models(pattern: str = "*") -> tuple[str, ...]:
    """Returns the names of the zoo that match a shell pattern, such as "wide_resnet_*"."""
    return tuple(sorted(name for name in _families() if fnmatch.fnmatchcase(name, pattern)))


def create_model(name: str, *, bands: str | Sequence[Band] = "S2", num_classes: int, **overrides: Any) -> keras.Model:
    """Returns an untrained model: `{band name: [B, size_px, size_px]}` in storage type -> logits float32 [B, K].

    Its layer `features` holds the pooled encoder output [B, F].

    Args:
        name: One of `list_models()`.
        bands: Rows, or a band set or names of BigEarthNet; in channel order within one native size.
        num_classes: K.
        **overrides: Fields of the variant's config to replace, for example `width=4`.

    Raises:
        ValueError: The name or an override is unknown, or an override does not fit.
    """
    families = _families()
    if name not in families:
        raise ValueError(f"Unknown model {name!r}; {_nearest(name, families)}")
    family = importlib.import_module(families[name])
    config = family.VARIANTS[name]
    fields = [field.name for field in dataclasses.fields(config)]
    for field in overrides:
        if field not in fields:
            raise ValueError(f"Model {name} has no field {field!r}; {_nearest(field, fields)}")
    config = dataclasses.replace(config, **overrides)
    rows = get_bands(bands) if isinstance(bands, str) else bands
    return family.build(config, name=name, bands=rows, num_classes=num_classes)


def _families() -> dict[str, str]:
    """Returns model name -> module of its family."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            path = f"{__name__}.{module.name}"
            found.update(dict.fromkeys(importlib.import_module(path).VARIANTS, path))
    return found


def _nearest(word: str, allowed: Iterable[str]) -> str:
    allowed = sorted(allowed)
    near = difflib.get_close_matches(word, allowed, n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else f"allowed: {', '.join(allowed)}"
