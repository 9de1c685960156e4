"""The protocol of the published benchmark (https://arxiv.org/abs/2111.09451), on its ten Sentinel-2 bands."""

from bigearth_tf.config import ScheduleConfig, TrainConfig


def get_config() -> TrainConfig:
    """Returns Adam at 1e-4, a step decay late in 30 epochs, and the best epoch by micro F1 on the validation split."""
    return TrainConfig(
        model="wide_resnet_eca_b0",
        schedule=ScheduleConfig(name="step", peak=1e-4),
        epochs=30,
        global_batch_size=128,
        best_metric="micro_f1",
    )
