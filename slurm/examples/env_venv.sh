# shellcheck shell=bash disable=SC1090,SC2034
# slurm/env.sh for a site without modules: a virtual environment, created once on a file system that all nodes see.
#   python3.11 -m venv ~/bigearth && source ~/bigearth/bin/activate && pip install -e '.[gpu,horovod]'

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

export SBATCH_PARTITION=main
# The names of the nodes belong to the slow management network. The launcher, and NCCL's data between GPUs, use this
# interface of 10 Gbit/s; Gloo's data, between CPUs, use the network of the host's own name, whatever is set here.
export BIGEARTH_IFACE=eth1
# The site sets no SLURM_TMPDIR, but every node has its own disk, which jobs share: the name of a copy of records
# contains their digest, and the last process that reads the copy removes it.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-/scr/$USER}

source ~/bigearth/bin/activate
PYTHON=(python)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
