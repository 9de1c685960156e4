"""A config that trains within seconds on the records of tests/support/records.py."""

from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig


def get_config():
    return TrainConfig(
        model="wide_resnet_eca_b0",
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(bands="RGB", shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3),
        epochs=1,
        global_batch_size=8,
        best_metric="micro_f1",
    )
