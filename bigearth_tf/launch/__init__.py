"""Starts the ranks of a run on SLURM (without ssh or MPI) or on one host, watches them, and ends them together.

In the order in which to read:

1. `__main__`: the command; its flags and exit code, and whether a SLURM job is queued again.
2. `launcher`: one launch; all ranks start together, and the first failure ends them all and is reported.
3. `elastic`: launches one after another while the nodes of a job change.
4. `task_starters`: how a launch starts one task for each rank, by srun or as processes of this host.
5. `task`: a task reports its place, waits for all others, and runs the command of its rank.
6. `rank_process`: the process of that command; its log, its signals, and why it ended.
7. `messages` and `server`: the messages between launcher and tasks, and the HTTP server that carries them.
8. `layout`, `network`, `slurm_job`: places of ranks, addresses of hosts, and a job's requests to SLURM.
"""
