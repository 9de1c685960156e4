"""Where patches are, and which of them belong to which split."""
