"""Synthetic patches in the archive layout of BigEarthNet v1."""
