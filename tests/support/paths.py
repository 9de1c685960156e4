"""Paths of the repository that tests use."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GOLDENS = REPOSITORY / "tests" / "goldens"
# Parameter counts of every member of the zoo.
PARAMETERS_CSV = GOLDENS / "parameters.csv"
