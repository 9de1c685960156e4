"""Config after the recipe of reBEN (https://arxiv.org/abs/2407.03653), on ten Sentinel-2 bands.

    python -m experiments.train --config=experiments/configs/modern.py --data_dir=records --workdir=runs/eca_b0_modern

Time and score: not run on the full archive yet.
"""

from bigearth_tf.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> TrainConfig:
    """Returns AdamW at 1e-3 with 1,000 steps of warm-up and a cosine decay; stops 5 epochs after the best macro AP.

    The weight decay is that of reBEN's training script (https://git.tu-berlin.de/rsim/reben-training-scripts).

    NOTE: the warm-up starts at 0 and the cosine ends at 0, not at a tenth of the peak; biases and norms do not decay.
    """
    return TrainConfig(
        model="wide_resnet_eca_b0",
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", peak=1e-3, warmup_steps=1000),
        epochs=100,
        global_batch_size=512,
        best_metric="macro_average_precision",
        early_stopping_epochs=5,
    )
