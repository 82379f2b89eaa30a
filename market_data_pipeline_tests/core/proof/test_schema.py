"""The pandera schema passes good klines and refuses each kind of bad ones."""

import numpy as np
import pyarrow as pa
import pytest

from market_data_pipeline.core.klines.table import SCHEMA
from market_data_pipeline.core.proof.schema import schema, schema_problem
from market_data_pipeline_tests.core.fakes import changed, day, klines_of, whole

DAY = whole(day("2024-03-05"))


@pytest.mark.parametrize("count", [0, 1, 1440])
def test_good_klines_keep_the_schema(count):
    assert schema_problem(klines_of(DAY).slice(0, count), schema()) is None


def test_the_schema_refuses_a_negative_value():
    problem = schema_problem(changed(klines_of(DAY), "volume", 3, -1.0), schema())
    assert problem.startswith("1 value against the schema (volume: ")


def test_the_schema_refuses_a_minute_that_comes_twice():
    klines = klines_of(DAY)
    assert "open_time" in schema_problem(pa.concat_tables([klines, klines.slice(9, 1)]), schema())


def test_the_schema_refuses_a_missing_value():
    assert "volume" in schema_problem(changed(klines_of(DAY), "volume", 3, float("nan")), schema())


def test_the_schema_refuses_another_type():
    floats = klines_of(DAY).set_column(8, "trades", pa.array(np.zeros(1440)))
    assert "trades" in schema_problem(floats, schema())


@pytest.mark.parametrize(
    "klines",
    [
        klines_of(DAY).drop_columns(["ignore"]),
        klines_of(DAY).append_column("extra", pa.array(np.zeros(1440))),
        klines_of(DAY).select(list(reversed(SCHEMA.names))),
    ],
    ids=["one less", "one more", "another order"],
)
def test_the_schema_refuses_other_columns(klines):
    assert schema_problem(klines, schema()) is not None
