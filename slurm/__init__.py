"""Jobs for SLURM: batch scripts, what the site is like (env.sh), and the command that submits them."""
