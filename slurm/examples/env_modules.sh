# shellcheck shell=bash disable=SC1090,SC2034
# slurm/env.sh for a typical GPU cluster: software in modules, InfiniBand, accounts, a disk on each node. Not run:
# names differ between sites (`module avail`, `sinfo`, `sacctmgr show associations user=$USER`).

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=my_project BIGEARTH_CPU_PARTITION=cpu

# IP over InfiniBand. NCCL itself finds the InfiniBand adapters; it uses this interface only for its first contact.
export BIGEARTH_IFACE=ib0
# Only if NCCL uses the wrong adapters (`nvidia-smi topo -m` shows those near the GPUs): NCCL_IB_HCA=mlx5_0,mlx5_1
export NCCL_DEBUG=WARN

# The site creates a folder for each job on the node's disk and removes it at the end of the job.
# Not exported: after `source slurm/env.sh` the jobs would get the folder of the login node.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-${SLURM_TMPDIR:-}}

module purge
module load python/3.11 cuda/12.2 cudnn/8.9 nccl/2.18
# Built once, with the same modules (slurm/README.md): HOROVOD_GPU_OPERATIONS=NCCL pip install ...
source "$BIGEARTH_HOME/.venv/bin/activate"
PYTHON=(python)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
