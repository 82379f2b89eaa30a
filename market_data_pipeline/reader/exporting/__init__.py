"""Stored klines as files that other programs read: CSV, Parquet, freqtrade, Lean, NautilusTrader.

Belongs here: what a user calls (this module), the request (`request`), what is read (`sources`), where files go
(`output`), a module for each format, and what became of each pair (`report`). Does not belong here: which pairs and
minutes are meant (`reader.choosing`, `reader.windows`), the command (`cli.research`).
May import: the other modules of `reader`, and `core`.
Klines are read as `open_dataset` gives them, or resampled, a few weeks at a time. Nothing is filled in, and nothing is
written into the store. See docs/export.md.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

from market_data_pipeline.core.errors import MarketDataWarning
from market_data_pipeline.core.text import count_text, told_of
from market_data_pipeline.reader.choosing import Pairs
from market_data_pipeline.reader.exporting.report import Exported, ExportReport
from market_data_pipeline.reader.exporting.request import FORMATS, PANELS, ExportRequest
from market_data_pipeline.reader.windows import Instant

__all__ = ["FORMATS", "PANELS", "ExportReport", "ExportRequest", "Exported", "export"]


def export(
    pairs: Pairs = (),
    start: Instant = None,
    end: Instant = None,
    *,
    format: str,
    output: str | Path,
    market: str | None = None,
    universe: str | None = None,
    tz: str | None = None,
    interval: str = "1m",
    panel: str | None = None,
    columns: str | Sequence[str] = (),
    overwrite: bool = False,
    root: str | Path | None = None,
    as_of: str | None = None,
) -> ExportReport:
    """Write stored klines into files for other programs, like `market-data export`. An absent minute stays absent.

    A pair that cannot be read hides no other: look at `ok` and `failed` of the report. A report that is not `ok` is
    also a MarketDataWarning, as are its `warnings`.

    Args:
        pairs: names in any spelling, and globs over what is stored; nothing for that of the settings.
        start: the first minute; None for the first that is stored or was requested of each pair.
        end: the first minute after the window; None for the end of what is stored or was requested.
        format: `csv`, `parquet`, `feather-freqtrade`, `lean` or `nautilus`.
        output: the folder: freqtrade's `datadir`, Lean's `data`, the path of the catalog, or any other.
        market: `spot` or `futures`; None for that of the settings.
        universe: take the market and the pairs of this universe of `market-data.toml`, and those of `pairs` beside it.
        tz: the zone of dates; None for that of each pair's days, with a warning if the window differs by that.
        interval: `1m`, or a longer one as `DatasetKlines.resample` takes it, of which only those are written that are
            over and within the window. Not for Lean and NautilusTrader, which make longer klines themselves.
        panel: with `csv` or `parquet`, one file of all pairs: `long`, with a column `pair`, or `wide`, with a column
            for each pair.
        columns: with `csv` or `parquet`, the columns; all if none is named, of a wide panel `close`.
        overwrite: replace files that are there.
        root: the data root; None for that of the settings.
        as_of: the name of a snapshot: klines are those that it names, whatever was stored since.

    Raises:
        UsageError: a pair is not stored, a format, column or window does not exist, a file is there already, or no pair
            has klines in the window.
        StoreUnavailable: the folder takes no file now.
    """
    request = ExportRequest(
        format, output, pairs, start, end, tz, market, universe, panel, columns, overwrite, root, as_of, interval
    )
    report = request.run()
    if report.failed:
        first = report.failed[0]
        text = f"{count_text(len(report.failed), 'pair')} failed: {told_of(first.name, first.problem)}"
        warnings.warn(text, MarketDataWarning, stacklevel=2)
    for text in report.warnings:
        warnings.warn(text, MarketDataWarning, stacklevel=2)
    return report
