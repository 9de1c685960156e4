"""Commands of experiments, driven by absl flags; the library below them defines none."""
