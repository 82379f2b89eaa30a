"""A table of klines as a pandas or polars frame or a DuckDB relation.

Belongs here: types of times, the index of a frame, and libraries that may not be installed. Does not belong here:
which klines are read (`stored`), many pairs side by side (`grid_formats`). Each library is imported by the function
that needs it.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.days import Zone

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

TIMES = ("open_time", "close_time")
"""The columns of klines that are times."""


def to_pandas(table: pa.Table, zone: Zone) -> "pd.DataFrame":
    """A frame with `open_time` as its index; times are `datetime64[ms]` in the zone."""
    frame: pd.DataFrame = _with_times(table).to_pandas()
    for name in TIMES:
        if name in frame:
            frame[name] = frame[name].dt.tz_convert(zone.tzinfo)
    return frame.set_index("open_time")


def to_polars(table: pa.Table, zone: Zone, times: Sequence[str] = TIMES) -> "pl.DataFrame":
    """A frame with the table's columns; those that are times are `Datetime("ms")` in the zone.

    Raises:
        UsageError: polars is not installed, or the zone is a fixed offset, which polars does not have.
    """
    if zone.fixed_offset_minutes is not None:
        raise UsageError(f"polars has no zone {zone.name}; give tz an IANA name, for example UTC")
    polars = _library("polars")
    frame: pl.DataFrame = polars.from_arrow(_with_times(table, times))
    shown = [name for name in times if name in table.column_names]
    return frame.with_columns(polars.col(name).dt.convert_time_zone(zone.name) for name in shown)


def to_duckdb(table: pa.Table, connection: "duckdb.DuckDBPyConnection | None") -> "duckdb.DuckDBPyRelation":
    """A relation with the table's columns, as stored, on the connection or on DuckDB's default one.

    Raises:
        UsageError: DuckDB is not installed.
    """
    relation: duckdb.DuckDBPyRelation = (connection or _library("duckdb")).from_arrow(table)
    return relation


def _with_times(table: pa.Table, times: Sequence[str] = TIMES) -> pa.Table:
    """The table with its times as timestamps instead of integers; the values are not copied."""
    for name in times:
        if name in table.column_names:
            position = table.column_names.index(name)
            table = table.set_column(position, name, table.column(position).cast(pa.timestamp("ms", tz="UTC")))
    return table


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"{name} is not installed; run pip install {name}") from None
