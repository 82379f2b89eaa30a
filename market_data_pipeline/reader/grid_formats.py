"""Many pairs side by side as an Arrow table or a pandas frame.

Belongs here: names and types of columns, how a place without a value looks. Does not belong here: reading (`grid`),
polars and DuckDB, which take the Arrow table (`formats`). The values are not copied.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.reader.formats import TIMES
from market_data_pipeline.reader.grid import HAS_VALUE, Grid, Ints, Values, is_integer, type_of
from market_data_pipeline.reader.reasons import REASONS

if TYPE_CHECKING:
    import pandas as pd

Codes = npt.NDArray[np.int8]


def column_names(columns: Sequence[str], pairs: Sequence[str]) -> dict[str, list[str]]:
    """The names of the columns of a wide table by kline column: the pairs, and of several columns `close_BTC/USDT`."""
    if len(columns) == 1:
        return {columns[0]: list(pairs)}
    return {name: [f"{name}_{pair}" for pair in pairs] for name in columns}


def wide_table(grid: Grid, pairs: Sequence[str]) -> pa.Table:
    """A table with `open_time` and a column for each column and pair; a place without a value is null."""
    validity = [pa.py_buffer(np.packbits(row, bitorder="little")) for row in grid.present]
    table = {"open_time": pa.array(grid.open_times, pa.int64())}
    for name, labels in column_names(list(grid.values), pairs).items():
        for label, row, bits in zip(labels, grid.values[name], validity, strict=True):
            table[label] = pa.Array.from_buffers(type_of(name), len(row), [bits, pa.py_buffer(row)])
    return pa.table(table)


def wide_frame(grid: Grid, pairs: Sequence[str], zone: Zone) -> "pd.DataFrame":
    """A frame with a column for each pair, or for each column and pair; a place without a value is NaN, NA or NaT."""
    import pandas as pd

    index, labels = _index(grid.open_times, zone), pd.Index(pairs, name="pair")
    frames = {name: _of_column(name, rows, grid.present, index, labels, zone) for name, rows in grid.values.items()}
    if len(frames) == 1:
        return next(iter(frames.values()))
    return pd.concat(frames, axis=1, names=["column"])


def mask_table(codes: Codes, open_times: Ints, pairs: Sequence[str]) -> pa.Table:
    """A table with `open_time` and a column for each pair: the reason, null where there is a value."""
    reasons = pa.array(REASONS, pa.string())
    columns = [pa.DictionaryArray.from_arrays(pa.array(row, mask=row == HAS_VALUE), reasons) for row in codes]
    return pa.table([pa.array(open_times, pa.int64()), *columns], names=["open_time", *pairs])


def mask_frame(codes: Codes, open_times: Ints, pairs: Sequence[str], zone: Zone) -> "pd.DataFrame":
    """A frame of categories with a column for each pair: the reason, NaN where there is a value."""
    import pandas as pd

    kind = pd.CategoricalDtype(list(REASONS))
    columns = {pair: pd.Categorical.from_codes(row, dtype=kind) for pair, row in zip(pairs, codes, strict=True)}
    frame = pd.DataFrame(columns, index=_index(open_times, zone))
    frame.columns.name = "pair"
    return frame


def _index(open_times: Ints, zone: Zone) -> "pd.DatetimeIndex":
    import pandas as pd

    shown = pd.DatetimeIndex(open_times.view("datetime64[ms]")).tz_localize("UTC").tz_convert(zone.tzinfo)
    return shown.rename("open_time")


def _of_column(
    name: str,
    rows: Values,
    present: npt.NDArray[np.bool_],
    index: "pd.DatetimeIndex",
    labels: "pd.Index[str]",
    zone: Zone,
) -> "pd.DataFrame":
    import pandas as pd

    if not is_integer(name):
        return pd.DataFrame(rows.T, index=index, columns=labels, copy=False)
    # Whole numbers stay whole: a float has no room for large ones, and pandas' plain integers have none for absence.
    if name in TIMES:
        marked = np.where(present, rows, np.iinfo(np.int64).min).view("datetime64[ms]")
        times = [pd.Series(row).dt.tz_localize("UTC").dt.tz_convert(zone.tzinfo).array for row in marked]
        frame = pd.DataFrame(dict(enumerate(times)), index=index, copy=False)
    else:
        numbers = [pd.arrays.IntegerArray(row, ~has) for row, has in zip(rows, present, strict=True)]
        frame = pd.DataFrame(dict(enumerate(numbers)), index=index, copy=False)
    return frame.set_axis(labels, axis=1)
