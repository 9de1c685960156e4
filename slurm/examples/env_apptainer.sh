# shellcheck shell=bash
# slurm/env.sh for a site that has Apptainer: everything runs in the image of bigearth_tf.def, the launcher, too.
#   apptainer build bigearth_tf.sif slurm/examples/bigearth_tf.def
# The launcher calls srun from within the image: the image holds SLURM's commands, the host gives their configuration and
# munge's socket. Their version may be at most two major releases older than the controller's (`sinfo --version`).
# Not run as it stands. Not for --elastic.

BIGEARTH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BIGEARTH_HOME PYTHONPATH=$BIGEARTH_HOME${PYTHONPATH:+:$PYTHONPATH}

export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=my_project
export BIGEARTH_IFACE=ib0
export BIGEARTH_SCRATCH=${BIGEARTH_SCRATCH-${SLURM_TMPDIR:-}}

export BIGEARTH_IMAGE=${BIGEARTH_IMAGE:-$BIGEARTH_HOME/bigearth_tf.sif}
# Apptainer mounts the home and working folders by itself; --nv gives it the GPUs.
export APPTAINER_BIND=$BIGEARTH_HOME,/etc/slurm,/run/munge${BIGEARTH_SCRATCH:+,$BIGEARTH_SCRATCH}${APPTAINER_BIND:+,$APPTAINER_BIND}
CONTAINER=(apptainer exec --nv "$BIGEARTH_IMAGE")

# On the job's first node: the launcher, in the image. By srun on each node: a rank, in the image.
PYTHON=("${CONTAINER[@]}" python3)
LAUNCH=(--srun="${CONTAINER[*]}")
