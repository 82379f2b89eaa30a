"""One file of several pairs: long, a row for each kline with its pair, or wide, a column for each pair.

Belongs here: the two tables, a part at a time. Does not belong here: how a file is encoded (`tabular`), what a panel is
(`reader.panel`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.text import count_text
from market_data_pipeline.reader.exporting.forms import write_file
from market_data_pipeline.reader.exporting.report import Exported
from market_data_pipeline.reader.exporting.sources import DAY_MS, Source, Tally, bin_ends, parts_of_bins
from market_data_pipeline.reader.exporting.tabular import FILES
from market_data_pipeline.reader.grid import require_possible
from market_data_pipeline.reader.panel import Panel

# Values of a wide table that are in memory at once: 64 MB.
_MOST_VALUES = 8_000_000


def panel_path(output: Path, market: Market, interval: str, kind: str, ending: str) -> Path:
    """Where a panel goes: `binance/panel_1m_wide.parquet`."""
    return output / market.exchange_id / f"panel_{interval}_{kind}.{ending}"


def write_long(path: Path, ending: str, sources: Sequence[Source], columns: Sequence[str]) -> Exported:
    """Write a row for each kline, pair after pair, as `Panel.long` has them.

    Raises:
        StoreError: a chunk is missing or damaged; the file is as it was.
    """
    tally, names = Tally(), pa.array([source.dataset.pair for source in sources], pa.string())
    fields = ["open_time", *(name for name in columns if name != "open_time")]

    def tables() -> Iterator[pa.Table]:
        for at, source in enumerate(sources):
            for klines in source.tables(fields):
                codes = pa.array(np.full(klines.num_rows, at, np.int32))
                yield klines.add_column(1, "pair", pa.DictionaryArray.from_arrays(codes, names))

    return _exported(f"long panel of {count_text(len(sources), 'pair')}", path, ending, tally, tables())


def write_wide(path: Path, ending: str, panel: Panel, window: Span, sources: Sequence[Source]) -> Exported:
    """Write a row for each minute, or bin, of the window, and a column for each pair, as `Panel.wide` has them.

    Raises:
        UsageError: no dataset can have klines as early or as late; nothing was written.
        StoreError: a chunk is missing or damaged; the file is as it was.
    """
    if window.minutes:
        require_possible(window)
    width = len(panel.pairs) * len(panel.columns)
    # A part looks through the days of each pair anew, so that there are to be few.
    days = max(1, _MOST_VALUES // width * panel.interval.minutes * MINUTE_MS // DAY_MS)

    def tables() -> Iterator[pa.Table]:
        for part in parts_of_bins(window, panel.interval, panel.zone, days):
            yield _of_known(panel.wide_of(part), panel, [source for source in sources if source.unknown])

    return _exported(f"wide panel of {count_text(len(panel.pairs), 'pair')}", path, ending, Tally(), tables())


def _of_known(table: pa.Table, panel: Panel, sources: Sequence[Source]) -> pa.Table:
    """A part of the wide panel with no value of these pairs where their bin is not known."""
    if not sources:
        return table
    starts = open_times(table)
    ends = bin_ends(panel.interval, panel.zone, starts)
    known: dict[str, pa.Array] = {}
    for source in sources:
        pair, are_known = source.dataset.pair, pa.array(source.are_known(starts, ends))
        known |= dict.fromkeys([pair, *(f"{column}_{pair}" for column in panel.columns)], are_known)
    values = [
        pc.if_else(known[field.name], column, pa.scalar(None, field.type)) if field.name in known else column
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.table(values, schema=table.schema)


def _exported(name: str, path: Path, ending: str, tally: Tally, tables: Iterator[pa.Table]) -> Exported:
    if not write_file(path, tally.counted(tables), FILES[ending]):
        return Exported(name)
    return Exported(name, (path,), tally.rows, tally.first_open_ms, tally.last_open_ms, path.stat().st_size)
