"""Commands for training, evaluation, export and comparison; each has absl flags and calls the library."""
