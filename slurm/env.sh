# shellcheck shell=bash disable=SC1090,SC2034
# What is this site like? The only file here to edit; examples/ shows it for three kinds of sites. The batch scripts
# read it on a job's first node, slurm/submit.py where you submit. As it is, it takes .venv of `make setup`, or else
# the environment that is active when you submit. The repository must be on a file system that all nodes see.

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

# Partition and account of all jobs, and the partition of those that need no GPU; else SLURM's defaults, as here.
# For sbatch without slurm/submit.py they count after `source slurm/env.sh`.
# export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=my_project BIGEARTH_CPU_PARTITION=cpu

# Network interface between the nodes; else that of the route from one to the next, as here.
# export BIGEARTH_IFACE=ib0

# Folder on each node's own disk, to which records are copied before they are read; "" reads them where they are.
# Not exported: after `source slurm/env.sh` the jobs would get the login node's.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-${SLURM_TMPDIR:-}}

# How Python is started on a job's first node, and further options of `python -m bigearth_tf.launch`.
export PATH=$BIGEARTH_HOME/.venv/bin:$PATH
PYTHON=(python)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
