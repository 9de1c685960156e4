"""The zoo's tables (experiments/zoo.csv and models/README.md) against the golden counts and against built models."""

import csv
import re

import pytest

from bigearth_tf.models.reference_names import REFERENCE_NAMES
from bigearth_tf.models.registry import list_models, model_config
from experiments.shared.table_text import natural_sort_key, to_csv, to_markdown
from experiments.zoo_table import (
    COLUMNS,
    CSV_PATH,
    README_PATH,
    build_row,
    insert_table,
)
from tests.support.paths import PARAMETERS_CSV


@pytest.fixture(scope="module")
def rows():
    with CSV_PATH.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_model_has_a_row(rows):
    assert list(rows[0]) == list(COLUMNS)
    assert [row["model"] for row in rows] == sorted(list_models(), key=natural_sort_key)
    assert {row["published_name"]: row["model"] for row in rows if row["published_name"]} == REFERENCE_NAMES


def test_parameter_counts_match_the_goldens(rows):
    with PARAMETERS_CSV.open(newline="", encoding="utf-8") as file:
        goldens = {(row["model"], row["form"]): row for row in csv.DictReader(file)}
    for row in rows:
        golden = goldens[row["model"], "default"]
        assert (row["trainable"], row["parameters"]) == (golden["trainable"], golden["total"]), row["model"]
        reference = goldens.get((row["model"], "published"), {"total": ""})
        assert row["published_parameters"] == reference["total"], row["model"]


def test_input_sizes_and_families_match_the_configs(rows):
    for row in rows:
        config = model_config(row["model"])
        assert row["input_px"] == str(getattr(config, "resolution_px", "native")), row["model"]
        assert type(config).__module__ == f"bigearth_tf.models.families.{row['family']}"
        assert float(row["gflops"]) > 0
        assert float(row["activations_m"]) > 0


def test_readme_and_csv_contain_the_same_table(rows):
    text = README_PATH.read_text(encoding="utf-8")
    table = re.search(r"<!-- zoo table: begin -->(.*)<!-- zoo table: end -->", text, re.DOTALL).group(1)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`").replace(",", "") for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [list(row.values()) for row in rows]


def test_examples_of_the_readme_run():
    examples = re.findall(r"```python\n(.*?)```", README_PATH.read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(example, {})


def test_a_row_counts_both_forms():
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


def test_insert_table_changes_only_the_text_between_the_markers():
    text = "before\n<!-- zoo table: begin -->\nold\n<!-- zoo table: end -->\nafter\n"
    once = insert_table(text, "| new |\n")
    assert once == "before\n<!-- zoo table: begin -->\n\n| new |\n\n<!-- zoo table: end -->\nafter\n"
    assert insert_table(once, "| new |\n") == once


@pytest.mark.parametrize("text", ["", "<!-- zoo table: begin -->", "<!-- zoo table: end --><!-- zoo table: begin -->"])
def test_insert_table_reports_missing_markers(text):
    with pytest.raises(ValueError, match=r"README\.md: write the lines .* where the table belongs"):
        insert_table(text, "")


def test_natural_order_sorts_numbers_by_value():
    assert sorted(["vit_12", "vit_6", "resnet50"], key=natural_sort_key) == ["resnet50", "vit_6", "vit_12"]
