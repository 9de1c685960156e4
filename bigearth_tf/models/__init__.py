"""The model zoo: the models of the benchmark and later ones, created by name."""

from bigearth_tf.models.registry import (
    create_encoder,
    create_model,
    list_models,
    model_config,
    reference_config,
    reference_overrides,
)

__all__ = ["create_encoder", "create_model", "list_models", "model_config", "reference_config", "reference_overrides"]
