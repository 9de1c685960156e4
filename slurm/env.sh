# shellcheck shell=bash disable=SC1090,SC2034
# Settings of this site: the only file here to edit; examples/ has versions of it for three kinds of sites. The batch
# scripts read it on the first node of a job, slurm/submit.py reads it where you submit. Without changes it uses .venv
# of `make setup`, or else the environment that is active when you submit. The repository must be on a file system that
# all nodes see.

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

# Partition and account of all jobs, and the partition of jobs that need no GPU; default: SLURM's.
# sbatch without slurm/submit.py uses them only after `source slurm/env.sh`.
# export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=my_project BIGEARTH_CPU_PARTITION=cpu

# Network interface between the nodes; default: that of the route from one node to another.
# export BIGEARTH_IFACE=ib0

# Folder on each node's own disk, to which records are copied before they are read; with "" they are not copied.
# Not exported: after `source slurm/env.sh` the jobs would get the folder of the login node.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-${SLURM_TMPDIR:-}}

# The command that starts Python on the first node of a job, and further options of `python -m bigearth_tf.launch`.
export PATH=$BIGEARTH_HOME/.venv/bin:$PATH
PYTHON=(python)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
