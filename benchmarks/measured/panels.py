"""Closes of many pairs in one table, by the reader and by the loops that users write; one job per process.

Belongs here: those jobs, and making the store that they read. Does not belong here: one pair (`store_jobs`). Each job
imports what it needs and nothing else, before its stopwatch.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.measured.stopwatch import Stopwatch

_EXCHANGE_IDS = {"spot": "binance", "futures": "binanceusdm"}


def make(options: argparse.Namespace) -> None:
    """So many pairs, each with the days and volumes of the one that is stored, and other prices."""
    from market_data_pipeline.core.klines.dataset import parse_market
    from market_data_pipeline.core.klines.table import column
    from market_data_pipeline.core.store.chunks.files import new_chunk
    from market_data_pipeline.core.store.root import Store

    stopwatch, rows = Stopwatch(), 0
    store, market = Store(options.root, manifest_interval_s=1e9), parse_market(options.market)
    (template,) = map(store.open, store.datasets())
    of = template.dataset
    for number in range(1, options.pairs):
        made = store.create(market, f"N{number:03d}/USDT", zone=of.zone, start=of.start)
        for span in of.requested:
            made.note_requested(span, of.start)
        for key, entry in template.entries.items():
            day = of.day(key)
            klines = template.read(day).klines
            for name in ("open", "high", "low", "close"):
                at = klines.schema.get_field_index(name)
                klines = klines.set_column(at, klines.schema.field(name), [column(klines, name) * (1 + number / 64)])
            made.publish(new_chunk(made.dataset, day, klines, entry.absences, source=entry.source))
            rows += klines.num_rows
        made.flush()
    stopwatch.report(rows=rows)


def panel(options: argparse.Namespace) -> None:
    """The reader's panel."""
    import pandas  # noqa: F401  (imported by the first frame, and pydantic by the first manifest)
    import pydantic.type_adapter  # noqa: F401

    from market_data_pipeline.reader import open_panel

    stopwatch = Stopwatch()
    _report(stopwatch, open_panel("*/USDT", "close", market=options.market, root=options.root).wide().to_pandas())


def loop(options: argparse.Namespace) -> None:
    """What users write: every file as a data frame, concatenated by pair, then the pairs side by side."""
    _loop(options, None)


def loop_of_columns(options: argparse.Namespace) -> None:
    """The same by users who name the columns that they need."""
    _loop(options, ["open_time", "close"])


def _loop(options: argparse.Namespace, columns: list[str] | None) -> None:
    import pandas as pd
    import pyarrow.dataset  # noqa: F401  (both imported lazily by pandas; here before the stopwatch)
    import pyarrow.parquet  # noqa: F401

    stopwatch, closes = Stopwatch(), {}
    for folder in sorted((options.root / _EXCHANGE_IDS[options.market]).glob("*USDT/1m/chunks")):
        files = sorted(folder.glob("*.parquet"))
        klines = pd.concat([pd.read_parquet(file, columns=columns) for file in files]).set_index("open_time")
        closes[folder.parents[1].name] = klines["close"]
    frame = pd.concat(closes, axis=1)
    frame.index = pd.to_datetime(frame.index, unit="ms", utc=True)
    _report(stopwatch, frame)


def _report(stopwatch: Stopwatch, frame: Any) -> None:
    rows, pairs = frame.shape
    stopwatch.report(rows=rows, pairs=pairs, values=int(frame.count().sum()), sum=round(float(frame.sum().sum())))


JOBS = {"make": make, "panel": panel, "loop": loop, "loop-of-columns": loop_of_columns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--market", required=True, choices=sorted(_EXCHANGE_IDS))
    parser.add_argument("--root", required=True, help="data root")
    parser.add_argument("--pairs", type=int, default=0, help="how many pairs `make` leaves")
    options = parser.parse_args()
    if "://" not in options.root:
        options.root = Path(options.root)
    JOBS[options.job](options)


if __name__ == "__main__":
    main()
