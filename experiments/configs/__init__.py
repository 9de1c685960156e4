"""One file a run: `get_config()` returns its `TrainConfig`."""
