# shellcheck shell=bash disable=SC1090,SC2034
# slurm/env.sh for a site with Apptainer: everything, including the launcher, runs in the image of bigearth_tf.def.
#   apptainer build bigearth_tf.sif slurm/examples/bigearth_tf.def
# The launcher calls srun inside the image: the image contains SLURM's commands, the host provides their configuration
# and munge's socket. Their version may be at most two major releases older than the controller's (`sinfo --version`).
# Tested with Apptainer 1.4 and an image for CPUs, with SLURM 22.05 in the image and 23.11 outside; not with GPUs.

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=my_project
export BIGEARTH_IFACE=ib0
# Not exported: after `source slurm/env.sh` the jobs would get the folder of the login node.
BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-${SLURM_TMPDIR:-}}

export BIGEARTH_IMAGE=${BIGEARTH_IMAGE:-$BIGEARTH_HOME/bigearth_tf.sif}
# An absolute path: the nodes get the PATH of the image.
export BIGEARTH_APPTAINER=${BIGEARTH_APPTAINER:-$(type -P apptainer)}
# Apptainer itself mounts the home and working folders. Add the folder of the records if it is elsewhere.
export APPTAINER_BIND=$BIGEARTH_HOME,/etc/slurm,/run/munge${BIGEARTH_SCRATCH:+,$BIGEARTH_SCRATCH}
# Inside the image, srun is the script of this folder.
export APPTAINERENV_PREPEND_PATH=$BIGEARTH_HOME/slurm/examples/in_image

PYTHON=("${BIGEARTH_APPTAINER:-apptainer}" exec --nv "$BIGEARTH_IMAGE" python3)
read -ra LAUNCH <<<"${BIGEARTH_LAUNCH:-}"
