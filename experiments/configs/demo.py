"""The demonstration: a light WideResNet-ECA on a few hundred synthetic patches, minutes on two cores."""

from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig


def get_config() -> TrainConfig:
    """Returns the config of the demonstration."""
    return TrainConfig(
        model="wide_resnet_eca_b0",
        data=DataConfig(data_dir="runs/demo/records/synthetic"),
        schedule=ScheduleConfig(name="cosine", peak=5e-3, warmup_steps=20),
        epochs=20,
        global_batch_size=16,
        best_metric="micro_f1",
    )
