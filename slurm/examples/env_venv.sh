# shellcheck shell=bash disable=SC1090,SC2034
# slurm/env.sh for a site without modules: a virtual environment made once, on a file system that all nodes see.
#   python3.11 -m venv ~/bigearth && source ~/bigearth/bin/activate && pip install -e '.[gpu,horovod]'

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

export SBATCH_PARTITION=main
# The nodes' names are those of the slow management network. The launcher's contact and NCCL's data between GPUs cross
# this one, of 10 Gbit/s; Gloo's data, between CPUs, go where a host's own name leads, whatever is set here.
export BIGEARTH_IFACE=eth1
# The site gives jobs no SLURM_TMPDIR, but every node has a disk of its own. Jobs take turns on it: a copy of the
# records carries their digest in its name, and is removed by the last process that reads it.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-/scr/$USER}

source ~/bigearth/bin/activate
PYTHON=(python)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
