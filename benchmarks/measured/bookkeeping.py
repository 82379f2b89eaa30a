"""A run over many days in which nothing but Dagster's bookkeeping is done: no request, no chunk.

Belongs here: the run. Does not belong here: loading (`engine`), counting the bytes that it leaves (`events`).
The days are recorded by the same code, into the same storage, with the metadata of real ones. The storage is SQLite, or
what a `dagster.yaml` in the home says.
"""

import argparse
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import dagster as dg

from benchmarks.measured.events import files_bytes, tables_bytes
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
from market_data_pipeline.instance.events.batches import ALREADY_RECORDED
from market_data_pipeline.instance.names import KLINES

_FIRST = date(2020, 1, 1)
_DATASET = Dataset(Market.FUTURES, "BTC/USDT", parse_zone("UTC"), _FIRST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, type=Path, help="a fresh data root")
    parser.add_argument("--days", required=True, type=int)
    parser.add_argument("--postgres", help="count the bytes of the tables in the database with this URL")
    options = parser.parse_args()
    used_bytes = (
        partial(tables_bytes, options.postgres) if options.postgres else partial(files_bytes, options.root / "dagster")
    )
    store = Store(options.root).open(_DATASET)

    @dg.asset(
        key=asset_key(_DATASET, KLINES),
        partitions_def=partitions_of(_DATASET),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def klines_1m(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with DayRecorder(context, context.asset_key, store.chunk_path) as recorder:
            for day in context.partition_keys:
                recorder.note(DayResult(_DATASET.day(day), Outcome.LOADED, _entry(day)))
        return dg.MaterializeResult(metadata={**ALREADY_RECORDED})

    definitions = dg.Definitions(assets=[klines_1m], executor=dg.in_process_executor)
    last = _FIRST + timedelta(days=options.days)
    with runs.open_instance(options.root / "dagster") as instance:
        # The first run of a process imports, compiles statements and opens databases.
        runs.run(instance, definitions, _DATASET, [KLINES], days=("2020-01-01", "2020-01-01"))
        before = used_bytes()
        stopwatch = Stopwatch()
        report = runs.run(instance, definitions, _DATASET, [KLINES], days=("2020-01-02", last.isoformat()))
        stopwatch.stop()
        recorded = len(runs.recorded_days(instance, _DATASET))
        if not report.success or recorded != options.days + 1:
            raise SystemExit(f"{recorded} days were recorded: {report.error}")
        stopwatch.report(days=options.days, bytes=used_bytes() - before)


def _entry(day: str) -> Entry:
    """That of a whole day."""
    first = _DATASET.day(day).start_ms
    return Entry(day, 1440, 1440, first, first + 1439 * 60_000, (), "archive", 45_321, "5f" * 32, State.ARCHIVED)


if __name__ == "__main__":
    main()
