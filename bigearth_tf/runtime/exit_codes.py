"""Exit codes of all commands, after sysexits.h."""

# EX_UNAVAILABLE: a rank, a node or the network was lost, a process was frozen, or not all ranks started.
EXIT_LOST = 69
# EX_SOFTWARE: a process made no progress for too long and ended itself.
EXIT_STALLED = 70
# EX_TEMPFAIL: a run was asked to stop, saved its state, and can be resumed.
EXIT_STOPPED = 75
# EX_CONFIG: the ranks of a run do not fit together.
EXIT_RANKS_DIFFER = 78
# As a shell reports them: 127, the command was not found; 128 + N, signal N ended the process.
EXIT_NOT_FOUND = 127
EXIT_BY_SIGNAL = 128
