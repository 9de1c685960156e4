"""Predictions of a trained model on a split, and every score computed from them."""
