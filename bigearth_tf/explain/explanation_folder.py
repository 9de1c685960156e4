"""The folder of explanations: for each patch a picture, the maps and the numbers.

`explanations.json` identifies the model and the request; `<patch>/` has `attributions.png`, the maps in `maps.tif` if
the place of the patch is known, otherwise in `maps.npz`, and `attributions.json`. `attributions.csv` has one row for
each patch and method. A patch whose folder exists is not explained again.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from bigearth_tf.explain.attribution import Attribution
from bigearth_tf.explain.explainer import Explainer
from bigearth_tf.explain.patches import PatchToExplain
from bigearth_tf.explain.pictures import draw_attributions
from bigearth_tf.explain.settings import Settings
from bigearth_tf.runtime.files import atomic_folder, write_json_atomically, write_text_atomically

REQUEST_NAME, TABLE_NAME = "explanations.json", "attributions.csv"
PICTURE_NAME, NUMBERS_NAME = "attributions.png", "attributions.json"
_COLUMNS = ("patch_id", "labels", "method", "class_name", "probability", "logit", "gap", "folder")


@dataclasses.dataclass(frozen=True)
class Request:
    """What is explained: one class, or the top class of each patch, by which methods.

    `model` and `patches` identify the model and where the patches come from.
    """

    model: str
    patches: str
    methods: tuple[str, ...]
    class_name: Optional[str] = None
    settings: Settings = dataclasses.field(default_factory=Settings)


def explain_patches(
    explainer: Explainer,
    patches: Iterable[PatchToExplain],
    request: Request,
    output_dir: Path,
    report: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Explains patches into a folder, and returns the rows of its table.

    Args:
        explainer: The model.
        patches: The patches.
        request: The methods, all of which the model must allow, and the class.
        output_dir: The folder; created if it is missing.
        report: Called after each patch.

    Raises:
        ValueError: A method or the class does not apply, a patch does not fit the model, or the folder has the
            explanations of another model or request.
    """
    for method in request.methods:
        if reason := explainer.why_not(method):
            raise ValueError(reason)
    if request.class_name:
        explainer.class_index(request.class_name)
    claim_folder(output_dir, request)
    rows = []
    for patch in patches:
        folder = output_dir / re.sub(r"[^\w.+-]", "_", patch.patch_id)
        if not folder.exists():
            with atomic_folder(folder) as temporary:
                temporary.mkdir()
                _explain_patch(explainer, patch, request, temporary)
        numbers = json.loads((folder / NUMBERS_NAME).read_text(encoding="utf-8"))
        rows += [{**row, "folder": folder.name} for row in numbers]
        report()
    write_text_atomically(output_dir / TABLE_NAME, _format_table(rows))
    return rows


def claim_folder(output_dir: Path, request: Request) -> None:
    """Creates the folder, or checks that it is one of the same request.

    Raises:
        ValueError: It holds other explanations, or other files.
    """
    content = json.loads(json.dumps(dataclasses.asdict(request)))
    path = output_dir / REQUEST_NAME
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(key for key in content | found if content.get(key) != found.get(key))
        if differing:
            there = ", ".join(f"{key}={found.get(key)!r}" for key in differing)
            raise ValueError(f"{output_dir}: holds explanations with {there}. Name another --output_dir.")
        return
    if output_dir.exists() and any(output_dir.iterdir()):
        raise ValueError(f"{output_dir}: is not empty and holds no explanations. Name a new or empty --output_dir.")
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, content)


def _explain_patch(explainer: Explainer, patch: PatchToExplain, request: Request, folder: Path) -> None:
    try:
        attributions = [
            explainer.explain(patch.bands, request.class_name, method, request.settings) for method in request.methods
        ]
    except ValueError as error:
        raise ValueError(f"{patch.patch_id}: {error}") from error
    draw_attributions(folder / PICTURE_NAME, patch, attributions)
    _write_maps(folder, patch, attributions)
    rows = [_describe(patch, attribution) for attribution in attributions]
    write_json_atomically(folder / NUMBERS_NAME, rows)


def _write_maps(folder: Path, patch: PatchToExplain, attributions: Sequence[Attribution]) -> None:
    maps = {attribution.method: attribution.values for attribution in attributions}
    if patch.georeference is None:
        np.savez_compressed(folder / "maps.npz", **maps)
        return
    # GDAL is needed only here: records can be explained without it.
    from bigearth_tf.mapping.write_raster import write_values

    place = patch.georeference
    write_values(folder / "maps.tif", maps, place.geotransform, place.crs_wkt, unit="logit per pixel")


def _describe(patch: PatchToExplain, attribution: Attribution) -> dict[str, Any]:
    return {
        "patch_id": patch.patch_id,
        "labels": None if patch.labels is None else list(patch.labels),
        "method": attribution.method,
        "class_name": attribution.class_name,
        "probability": attribution.probability,
        "logit": attribution.logit,
        "gap": attribution.gap,
        "by_band": None if attribution.by_band is None else dict(attribution.by_band),
    }


def _format_table(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        numbers = {key: "" if row[key] is None else f"{row[key]:.6f}" for key in ("probability", "logit", "gap")}
        writer.writerow({**row, **numbers, "labels": "; ".join(row["labels"] or ())})
    return text.getvalue()
