"""A run over many days in which nothing but Dagster's bookkeeping is done: no request, no chunk.

Belongs here: the run, and the bytes that it leaves. Does not belong here: loading (`engine`).
The days are recorded by the same code, into the same storage, with the metadata of real ones.
"""

import argparse
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from benchmarks.measured.stopwatch import Stopwatch
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.partitions import partitions_of
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.instance import runs
from market_data_pipeline.instance.names import KLINES
from market_data_pipeline.instance.storage import ALREADY_RECORDED

_FIRST = date(2020, 1, 1)
_DATASET = Dataset(Market.FUTURES, "BTC/USDT", parse_zone("UTC"), _FIRST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, type=Path, help="a fresh data root")
    parser.add_argument("--days", required=True, type=int)
    options = parser.parse_args()
    store = Store(options.root).open(_DATASET)

    @dg.asset(
        key=asset_key(_DATASET, KLINES),
        partitions_def=partitions_of(_DATASET),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with DayRecorder(context, context.asset_key, store) as recorder:
            for day in context.partition_keys:
                recorder.note(DayResult(_DATASET.day(day), Outcome.LOADED, _entry(day)))
        return dg.MaterializeResult(metadata={**ALREADY_RECORDED})

    definitions = dg.Definitions(assets=[klines_1m], executor=dg.in_process_executor)
    last = _FIRST + timedelta(days=options.days)
    with runs.open_instance(options.root / "dagster") as instance:
        # The first run of a process imports, compiles statements and opens databases.
        runs.run(instance, definitions, _DATASET, [KLINES], days=("2020-01-01", "2020-01-01"))
        before = _used_bytes(options.root)
        stopwatch = Stopwatch()
        report = runs.run(instance, definitions, _DATASET, [KLINES], days=("2020-01-02", last.isoformat()))
        recorded = len(runs.recorded_days(instance, _DATASET))
        if not report.success or recorded != options.days + 1:
            raise SystemExit(f"{recorded} days were recorded: {report.error}")
        stopwatch.report(days=options.days, bytes=_used_bytes(options.root) - before)


def _entry(day: str) -> Entry:
    """That of a whole day."""
    first = _DATASET.day(day).start_ms
    return Entry(day, 1440, 1440, first, first + 1439 * 60_000, (), "archive", 45_321, "5f" * 32, State.ARCHIVED)


def _used_bytes(root: Path) -> int:
    """The pages of the index and of the databases of all runs, with those in a write-ahead log."""
    return sum(map(_pages_bytes, (root / "dagster" / "history" / "runs").glob("*.db")))


def _pages_bytes(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * page_bytes)


if __name__ == "__main__":
    main()
