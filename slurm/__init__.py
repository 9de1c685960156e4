"""Submission of the pipeline to a SLURM cluster; see slurm/README.md."""
