"""Tables of results as CSV and as Markdown, from the same rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Column of the CSV -> title in Markdown, and alignment: "---:" for numbers, "---" for names.
Columns = Mapping[str, tuple[str, str]]


def to_csv(columns: Iterable[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Returns the rows as CSV; a cell that a row lacks is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def to_markdown(columns: Columns, rows: Sequence[Mapping[str, str]]) -> str:
    """Returns the rows as a Markdown table, with commas in whole numbers."""
    lines = [[title for title, _ in columns.values()], [rule for _, rule in columns.values()]]
    for row in rows:
        cells = [f"{int(row[column]):,}" if row[column].isdecimal() else row[column] for column in columns]
        lines.append([f"`{cells[0]}`", *cells[1:]])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def natural_sort_key(name: str) -> list[Any]:
    """Returns a sort key by which vit_6 comes before vit_12."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
