"""Turn patch folders into sharded TFRecords: command-line tools that need a CPU only."""
