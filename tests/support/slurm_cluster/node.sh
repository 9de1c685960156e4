#!/usr/bin/env bash
# PID 1 of a node's namespaces: its own host name, address, process table and mounts, but shared files. Runs slurmd.
# usage: node.sh FOLDER NUMBER
set -u
folder=$1 number=$2
. "$folder/settings"
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin

hostname "n$number"
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip addr add "$network.$((10 + number))/24" dev eth0 && ip link set eth0 up
# Scratch space of this node alone.
mkdir -p "$folder/scratch" && mount -t tmpfs -o "size=${scratch_mb}m" none "$folder/scratch"
if [ -n "$own_name_at_loopback" ]; then # Like the installers of Debian and Ubuntu.
  { echo "127.0.1.1 n$number"; cat "$folder/hosts"; } >"$folder/hosts.n$number"
  mount --bind "$folder/hosts.n$number" /etc/hosts
fi
mkdir -p "$folder/spool/n$number"
$as_user slurmd -D -N "n$number" -f "$SLURM_CONF" &
while :; do sleep 1000 & wait $!; done
