"""The config: overrides are read as literals, and fields out of range are refused."""

import pytest

from bigearth_tf.config import DataConfig, TrainConfig, parse_overrides, validate


def test_overrides_are_keywords_with_literal_values():
    assert parse_overrides("") == {}
    assert parse_overrides("width=4, attention='none', dropout=1e-1") == {
        "width": 4,
        "attention": "none",
        "dropout": 0.1,
    }


@pytest.mark.parametrize(
    "text",
    ["4", "width", "width=", "width=open('x')", "**{'width': 4}", "width=4) + dict(", "width=print(1)", "width: 4"],
)
def test_anything_else_is_refused_and_not_executed(text, capsys):
    with pytest.raises(ValueError, match="expected keywords with literal values"):
        parse_overrides(text)
    assert not capsys.readouterr().out


def test_every_field_out_of_range_is_named_at_once():
    config = TrainConfig(epochs=0, global_batch_size=0, data=DataConfig(shuffle_mb=0))
    with pytest.raises(ValueError, match="data_dir.*shuffle_mb.*epochs.*global_batch_size"):
        validate(config)
