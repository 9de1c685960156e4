"""Data, archives, runs, ranks and clusters that several tests share."""
