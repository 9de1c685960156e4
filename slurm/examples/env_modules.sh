# shellcheck shell=bash disable=SC1090,SC2034
# slurm/env.sh for a typical GPU cluster: software in modules, InfiniBand, accounts, a disk a node. Not run as it
# stands: names differ everywhere (`module avail`, `sinfo`, `sacctmgr show associations user=$USER`).

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=my_project BIGEARTH_CPU_PARTITION=cpu

# IP over InfiniBand. NCCL finds the InfiniBand adapters by itself; it needs this interface for its first contact alone.
export BIGEARTH_IFACE=ib0
# Only where NCCL takes the wrong adapters (`nvidia-smi topo -m` shows those near the GPUs): NCCL_IB_HCA=mlx5_0,mlx5_1
export NCCL_DEBUG=WARN

# The site makes a folder for each job on the node's disk and removes it at the job's end.
# Not exported: after `source slurm/env.sh` the jobs would get the login node's.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-${SLURM_TMPDIR:-}}

module purge
module load python/3.11 cuda/12.2 cudnn/8.9 nccl/2.18
# Built once, in the same modules (README, SLURM): HOROVOD_GPU_OPERATIONS=NCCL pip install ...
source "$BIGEARTH_HOME/.venv/bin/activate"
PYTHON=(python)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
