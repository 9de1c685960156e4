"""Functions that several commands of experiments use."""
