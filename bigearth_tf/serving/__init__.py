"""Exported models: writing one, describing it, and predicting with it."""
