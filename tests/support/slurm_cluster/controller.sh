#!/usr/bin/env bash
# PID 1 of the controller's namespaces: a bridge, munged, slurmctld, and a namespace for each node.
# usage: controller.sh FOLDER      (cluster.py writes FOLDER)
set -u
folder=$1
here=$(dirname "$0")
. "$folder/settings"
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin

mount --make-rprivate /
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/resolv.conf" /etc/resolv.conf # Empty: there is no DNS here, and each query would wait 10 s.
hostname controller
ip link set lo up
ip link add bridge type bridge && ip link set bridge up && ip addr add "$network.1/24" dev bridge
$as_user munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" --num-threads=2 &
while [ ! -S "$folder/munge/socket" ]; do sleep 0.05; done
$as_user slurmctld -D -i -f "$SLURM_CONF" &

boot() { # NUMBER
  local outer inner=""
  unshare --net --uts --mount --pid --fork --kill-child --mount-proc bash "$here/node.sh" "$folder" "$1" &
  outer=$!
  while [ -z "$inner" ]; do
    inner=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null)
    inner=${inner%% *}
    sleep 0.02
  done
  ip link add "to-n$1" type veth peer name eth0 netns "$inner" && ip link set "to-n$1" master bridge up
  echo "$inner" >"$folder/n$1.pid" # The process id in this namespace.
}

for number in $(seq "$nodes"); do boot "$number"; done
# Stays as the parent of all processes, and boots each node whose number is written to the pipe.
mkfifo "$folder/boot"
exec 9<>"$folder/boot"
touch "$folder/ready"
while read -r number <&9; do boot "$number"; done
