"""Do README.md, experiments/zoo.csv and the golden counts say the same, and is that what the command would write?"""

import csv
import re

import pytest

from bigearth_tf.models.reference_names import PUBLISHED_NAMES
from bigearth_tf.models.registry import list_models, model_config
from experiments.shared.table_text import natural_order, to_csv, to_markdown
from experiments.zoo_table import (
    COLUMNS,
    CSV_PATH,
    README_PATH,
    build_row,
    insert_table,
)
from tests.support.paths import PARAMETERS_CSV

GOLDENS = PARAMETERS_CSV


@pytest.fixture(scope="module")
def rows():
    with CSV_PATH.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_model_has_a_row(rows):
    assert list(rows[0]) == list(COLUMNS)
    assert [row["model"] for row in rows] == sorted(list_models(), key=natural_order)
    assert {row["published_name"]: row["model"] for row in rows if row["published_name"]} == PUBLISHED_NAMES


def test_the_counts_are_the_golden_ones(rows):
    with GOLDENS.open(newline="", encoding="utf-8") as file:
        goldens = {(row["model"], row["form"]): row for row in csv.DictReader(file)}
    for row in rows:
        golden = goldens[row["model"], "default"]
        assert (row["trainable"], row["parameters"]) == (golden["trainable"], golden["total"]), row["model"]
        published = goldens.get((row["model"], "published"), {"total": ""})
        assert row["published_parameters"] == published["total"], row["model"]


def test_inputs_are_those_of_the_configs(rows):
    for row in rows:
        config = model_config(row["model"])
        assert row["input_px"] == str(getattr(config, "resolution_px", "native")), row["model"]
        assert type(config).__module__ == f"bigearth_tf.models.{row['family']}"
        assert float(row["gflops"]) > 0
        assert float(row["activations_m"]) > 0


def test_the_readme_says_what_the_csv_says(rows):
    text = README_PATH.read_text(encoding="utf-8")
    table = re.search(r"<!-- zoo table: begin -->(.*)<!-- zoo table: end -->", text, re.DOTALL).group(1)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`").replace(",", "") for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [list(row.values()) for row in rows]


def test_a_row_is_built_in_both_forms():
    row = build_row("wide_resnet_eca_b0")
    assert row == {
        "model": "wide_resnet_eca_b0", "published_name": "WideResNet-ECA", "family": "wide_resnet", "input_px": "60",
        "parameters": "306814", "trainable": "305886", "published_parameters": "306817", "gflops": "0.320",
        "activations_m": "0.663", "features": "128",
    }  # fmt: skip
    assert to_csv(COLUMNS, [row]).splitlines() == [",".join(COLUMNS), ",".join(row.values())]
    assert to_markdown(COLUMNS, [row]).splitlines()[2] == (
        "| `wide_resnet_eca_b0` | WideResNet-ECA | wide_resnet | 60 | 306,814 | 305,886 | 306,817 | 0.320 | 0.663 "
        "| 128 |"
    )


def test_the_table_goes_between_its_markers_and_nothing_else_changes():
    text = "before\n<!-- zoo table: begin -->\nold\n<!-- zoo table: end -->\nafter\n"
    once = insert_table(text, "| new |\n")
    assert once == "before\n<!-- zoo table: begin -->\n\n| new |\n\n<!-- zoo table: end -->\nafter\n"
    assert insert_table(once, "| new |\n") == once


@pytest.mark.parametrize("text", ["", "<!-- zoo table: begin -->", "<!-- zoo table: end --><!-- zoo table: begin -->"])
def test_a_readme_without_markers_is_told(text):
    with pytest.raises(ValueError, match=r"README\.md: put the lines .* where the table belongs"):
        insert_table(text, "")


def test_6_is_before_12():
    assert sorted(["vit_12", "vit_6", "resnet50"], key=natural_order) == ["resnet50", "vit_6", "vit_12"]
