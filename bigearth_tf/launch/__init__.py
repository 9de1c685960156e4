"""How are the ranks of a run started, watched and ended? On SLURM without ssh or MPI, or on one host."""
