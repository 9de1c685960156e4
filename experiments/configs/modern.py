"""The recipe of reBEN (https://arxiv.org/abs/2407.03653), on ten Sentinel-2 bands."""

from bigearth_tf.config import LossConfig, OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> TrainConfig:
    """Returns AdamW at 1e-3 with 1,000 steps of warm-up and a cosine, stopped 5 epochs after the best macro AP.

    The weight decay is that of its training script (https://git.tu-berlin.de/rsim/reben-training-scripts).

    NOTE: the cosine ends at 0 and the warm-up begins there, not at a tenth of the peak; biases and norms do not decay.
    """
    return TrainConfig(
        model="wide_resnet_eca_b0",
        loss=LossConfig(name="binary_cross_entropy"),
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", peak=1e-3, warmup_steps=1000),
        epochs=100,
        global_batch_size=512,
        best_metric="macro_average_precision",
        early_stopping_epochs=5,
    )
