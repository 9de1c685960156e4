"""Explanations of a finished run, of an exported model or of any model with raw bands as inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Optional

import keras
import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.inference import to_probabilities
from bigearth_tf.explain.attribution import Attribution, spread
from bigearth_tf.explain.differentiable import DifferentiableModel, Path
from bigearth_tf.explain.grad_cam import grad_cam
from bigearth_tf.explain.integrated_gradients import integrated_gradients, midpoints
from bigearth_tf.explain.occlusion import Score, occlusion
from bigearth_tf.explain.settings import METHODS, Settings
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.serving.model_inputs import ModelInputs, describe_run_inputs, read_model_inputs
from bigearth_tf.serving.predictor import Predictor

# Probabilities of float32 this close to 0 or 1 are as good as 0 or 1: their logits would not be finite.
_SMALLEST = 1e-7


class Explainer:
    """A model whose logits, not whose probabilities, are explained.

    `inputs` says what it takes and returns; `score` computes its logits; `baseline` has the mean of each band, which
    replaces pixels; `methods` are those of `METHODS` that it allows.
    """

    def __init__(self, score: Score, inputs: ModelInputs, model: Optional[keras.Model] = None) -> None:
        """Keeps the parts; `from_model`, `from_run` and `from_export` make them.

        Args:
            score: Raw bands -> logits.
            inputs: The bands with their means, and the classes.
            model: The model of `score`, for methods that need gradients.

        Raises:
            ValueError: The mean of a band is not known.
        """
        self.score = score
        self.inputs = inputs
        self.baseline: dict[str, float] = {band.name: _mean_of(band) for band in inputs.bands}
        self._model = model
        self._gradients = DifferentiableModel(model) if model is not None else None

    @classmethod
    def from_model(cls, model: keras.Model, inputs: ModelInputs) -> Explainer:
        """Returns the explainer of a functional model: raw bands -> logits."""
        rows = inputs.bands
        signature = {band.name: tf.TensorSpec([None, band.size_px, band.size_px], band.dtype) for band in rows}
        compiled = tf.function(lambda batch: model(batch, training=False), input_signature=[signature], autograph=False)

        def score(batch: Mapping[str, np.ndarray]) -> np.ndarray:
            return compiled({name: tf.constant(batch[name]) for name in signature}).numpy()

        return cls(score, inputs, model)

    @classmethod
    def from_run(cls, workdir: str | os.PathLike) -> Explainer:
        """Returns the explainer of a finished run's best model.

        Raises:
            FileNotFoundError: The run is not finished, or its checkpoint is missing.
            ValueError: This version cannot read the files of the run.
        """
        run = load_finished_run(workdir)
        return cls.from_model(run.model, describe_run_inputs(run.settings))

    @classmethod
    def from_export(cls, folder: str | os.PathLike) -> Explainer:
        """Returns the explainer of an exported model, which allows occlusion only: it has no gradients.

        The logits are those of its probabilities. For single-label models they are logarithms of the probabilities,
        because probabilities that add up to 1 do not determine logits.

        Raises:
            FileNotFoundError: The folder has no SavedModel, or no model card.
        """
        predictor = Predictor(folder)

        def score(batch: Mapping[str, np.ndarray]) -> np.ndarray:
            probabilities = predictor.predict_batch(batch).astype(np.float64)
            if predictor.label_kind is LabelKind.SINGLE:
                return np.log(np.maximum(probabilities, _SMALLEST))
            clipped = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
            return np.log(clipped) - np.log1p(-clipped)

        return cls(score, read_model_inputs(folder))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that this model allows."""
        return tuple(method for method in METHODS if not self.why_not(method))

    def why_not(self, method: str) -> str:
        """Returns why a method does not apply to this model; empty if it applies."""
        if method not in METHODS:
            return f"Unknown method {method!r}; allowed: {', '.join(METHODS)}."
        if method == "occlusion":
            return ""
        if self._gradients is None:
            return f"{method} needs gradients, which an exported model does not have; name the run by --workdir."
        if method == "grad_cam" and not self._gradients.map_sizes:
            return "grad_cam needs a spatial map before the features; this model has tokens (ViT, MLP-Mixer) or none."
        return ""

    def randomize(self, seed: int = 0) -> Explainer:
        """Returns the explainer of a copy of the model whose weights are shuffled, each array by itself.

        Shuffled weights keep their distribution, so that the copy returns logits of a similar size.

        Raises:
            ValueError: The model is an export.
        """
        model = self._require_model()
        rng = np.random.default_rng(seed)
        copy = keras.models.clone_model(model)
        copy.set_weights([rng.permutation(array.ravel()).reshape(array.shape) for array in model.get_weights()])
        return self.from_model(copy, self.inputs)

    def weights_sha256(self) -> str:
        """Returns a hash of the weights of the model.

        Raises:
            ValueError: The model is an export.
        """
        digest = hashlib.sha256()
        for array in self._require_model().get_weights():
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _require_model(self) -> keras.Model:
        if self._model is None:
            raise ValueError("This needs the model itself, not its export; name the run by --workdir.")
        return self._model

    def logits(self, bands: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the logits [K] of a patch.

        Args:
            bands: Band name -> [size_px, size_px] as stored; bands that the model does not take are ignored.

        Raises:
            ValueError: A band is missing, or has another size or type, or a logit is not finite.
        """
        logits = self.score({name: pixels[np.newaxis] for name, pixels in self._select(bands).items()})[0]
        if not np.all(np.isfinite(logits)):
            raise ValueError("The model's logits of this patch are not finite: check its pixels for NaN and infinity.")
        return logits

    def explain(
        self,
        bands: Mapping[str, np.ndarray],
        class_name: Optional[str] = None,
        method: str = "integrated_gradients",
        settings: Settings = Settings(),  # noqa: B008 - frozen
    ) -> Attribution:
        """Returns how much each pixel of a patch contributes to the logit of a class.

        Args:
            bands: Band name -> [size_px, size_px] as stored; bands that the model does not take are ignored.
            class_name: The class; the one with the highest logit by default.
            method: One of `methods`.
            settings: Settings of the methods.

        Raises:
            ValueError: The method does not apply, the class is unknown, or the patch does not fit the model.
        """
        if reason := self.why_not(method):
            raise ValueError(reason)
        logits = self.logits(bands)
        index = self.class_index(class_name) if class_name else int(np.argmax(logits))
        probabilities = to_probabilities(tf.constant(logits[np.newaxis]), self.inputs.label_kind).numpy()[0]
        attribution = Attribution(
            method=method,
            class_name=self.inputs.class_names[index],
            logit=float(logits[index]),
            probability=float(probabilities[index]),
            values=np.zeros(0, np.float32),
        )
        return self._attribute(attribution, self._select(bands), index, settings)

    def class_index(self, class_name: str) -> int:
        """Returns the index of a class.

        Raises:
            ValueError: The model has no such class.
        """
        if class_name not in self.inputs.class_names:
            raise ValueError(f"The model has no class {class_name!r}; it has {', '.join(self.inputs.class_names)}.")
        return self.inputs.class_names.index(class_name)

    def _attribute(
        self, attribution: Attribution, bands: Mapping[str, np.ndarray], index: int, settings: Settings
    ) -> Attribution:
        """Returns the attribution with the values of its method."""
        if attribution.method == "occlusion":
            values = occlusion(self.score, bands, self.baseline, index, settings.windows, settings.batch_size)
            return dataclasses.replace(attribution, values=values)
        assert self._gradients is not None
        if attribution.method == "grad_cam":
            return dataclasses.replace(attribution, values=grad_cam(self._gradients, bands, index))
        path = Path(self.baseline, bands, midpoints(settings.steps))
        parts = integrated_gradients(self._gradients, path, index, settings.batch_size)
        size_px = max(len(pixels) for pixels in bands.values())
        by_band = {name: float(part.sum()) for name, part in parts.items()}
        difference = attribution.logit - float(self._gradients.start_logits(path)[index])
        return dataclasses.replace(
            attribution,
            values=np.sum([spread(part, size_px) for part in parts.values()], axis=0).astype(np.float32),
            by_band=by_band,
            gap=sum(by_band.values()) - difference,
        )

    def _select(self, bands: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the model's bands of a patch.

        Raises:
            ValueError: A band is missing, or has another size or type.
        """
        for band in self.inputs.bands:
            found = f"{bands[band.name].dtype} {list(bands[band.name].shape)}" if band.name in bands else "missing"
            expected = f"{band.dtype} [{band.size_px}, {band.size_px}]"
            if found != expected:
                raise ValueError(f"The model takes band {band.name} as {expected}; in this patch it is {found}.")
        return {band.name: bands[band.name] for band in self.inputs.bands}


def _mean_of(band: Band) -> float:
    if band.mean is None:
        raise ValueError(f"Band {band.name} has no mean, by which occluded pixels are replaced.")
    return band.mean
