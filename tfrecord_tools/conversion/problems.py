"""Broken patches: what is wrong with each, and how to fix it.

One rule for all sources: whatever prevents the reading of one patch, a broken file or an error of the file system,
makes the patch a problem with its true reason. Only what concerns all patches is an error: the source has disappeared,
or this process has no more memory or files.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.source import PatchError, os_errors_as_problems


class Problem(NamedTuple):
    """A broken patch: its id, the file, what is wrong, what was expected, and how to fix it.

    The names are the columns of `problems.csv` and keys in manifests on users' disks.
    """

    patch_id: str
    file: str
    problem: str
    expected: str
    mend: str


def find_problem(ref: PatchRef, error: PatchError | OSError, roots: Sequence[str]) -> Problem:
    """Returns why a patch could not be read.

    Args:
        ref: The patch.
        error: What the source raised for it.
        roots: The folders or files of the source, without which no patch can be read.

    Raises:
        FileNotFoundError: The source as a whole has disappeared.
        OSError: The reason is this process: it has no more memory or files.
    """
    for root in roots:
        if not os.path.exists(root):
            raise FileNotFoundError(
                f"{root}: the source has disappeared. Make it available again, and run the same command: "
                "it writes what is missing."
            ) from error
    if isinstance(error, OSError):
        file = error.filename or ", ".join(map(str, ref.parts))
        try:
            with os_errors_as_problems(file, "a file that can be read"):
                raise error
        except PatchError as problem:
            error = problem
    return Problem(ref.patch_id, error.file, error.problem, error.expected, error.fix)


def problems_table(problems: Sequence[Problem]) -> str:
    """Returns the text of a CSV file with a row for each problem."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Problem._fields)
    writer.writerows(problems)
    return text.getvalue()


def describe_problems(problems: Sequence[Problem], num_patches: int, allowed: int) -> str:
    """Returns a sentence that counts the broken patches of a conversion or of a task, and the first in full."""
    first, count = problems[0], len(problems)
    return (
        f"{count} of {num_patches} patches {'is' if count == 1 else 'are'} broken, {allowed} "
        f"{'is' if allowed == 1 else 'are'} allowed. The first: {first.file}: {first.problem}; expected "
        f"{first.expected}. {first.mend}"
    )
