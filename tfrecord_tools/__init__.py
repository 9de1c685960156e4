"""Conversion of patches to sharded TFRecords: command-line tools that need a CPU only."""
