"""Configs of training runs: `get_config()` of each file returns a `TrainConfig`."""
