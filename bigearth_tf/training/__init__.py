"""Training of one model on 1 or N ranks."""
