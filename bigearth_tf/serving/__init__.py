"""Exported models: writing one, describing one, and predicting with one."""
