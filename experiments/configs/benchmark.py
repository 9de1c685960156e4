"""Config after the protocol of the published benchmark (https://arxiv.org/abs/2111.09451), on its ten Sentinel-2 bands.

    python -m experiments.train --config=experiments/configs/benchmark.py --data_dir=records --workdir=runs/eca_b0

Time and score: not run on the full archive yet.
"""

from bigearth_tf.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> TrainConfig:
    """Returns Adam at 1e-4, a step decay late in 30 epochs, and the best epoch by micro F1 on the validation split.

    The benchmark multiplies the learning rate by the number of workers, each with its own batch of 50 to 128, without
    warm-up. Here the learning rate does not depend on the number of ranks but is linear in the global batch, with the
    batch of one worker as the reference: for n workers set `--config.global_batch_size` to 128 n.

    On single-label data the loss is the softmax and the best epoch is that by accuracy, which is then the micro F1.

    NOTE: the l2 of 5e-4 that the benchmark's models name is not part of its loss, so it is 0 here. Its augmentation was
    drawn once, when the graph was traced, and turned all patches the same way; here it is random, as was intended.
    """
    return TrainConfig(
        model="wide_resnet_eca_b0",
        optimizer=OptimizerConfig(name="adam"),
        schedule=ScheduleConfig(name="step", peak=1e-4, scaling="linear", reference_batch_size=128),
        epochs=30,
        global_batch_size=128,
        best_metric="auto",
    )
