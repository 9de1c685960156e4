"""The model zoo: every published model, and those that came since, by name."""

from bigearth_tf.models.registry import (
    create_encoder,
    create_model,
    list_models,
    model_config,
    reference_config,
    reference_overrides,
)

__all__ = ["create_encoder", "create_model", "list_models", "model_config", "reference_config", "reference_overrides"]
