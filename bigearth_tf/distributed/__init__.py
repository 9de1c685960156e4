"""The ranks of a run: how they join, exchange data, agree, and watch one another."""
