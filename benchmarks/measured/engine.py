"""One load by the engine alone, without Dagster: what `market-data backfill` does, inside the asset and around it.

Belongs here: the calls that a backfill is made of, in one process, timed without imports. Does not belong here: what is
compared with it.
"""

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.measured.arguments import load_parser
from benchmarks.measured.stopwatch import Stopwatch
from market_data_pipeline.core.klines.coverage import Absence, minutes_by_kind
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.klines.days import parse_instant, parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.loading.window import parse_window
from market_data_pipeline.core.source_names import SOURCE_NAMES
from market_data_pipeline.core.sources.budgets.file import BudgetFile
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.sources.union import source as _imported_before_the_stopwatch  # noqa: F401
from market_data_pipeline.core.store.root import Store


def main() -> None:
    options = _options()
    market, pair, zone = parse_market(options.market), parse_pair(options.pair), parse_zone("UTC")
    opener = partial(
        open_source, options.source, budget_of=partial(BudgetFile, folders=[options.root]), base_url=options.url
    )
    stopwatch = Stopwatch()
    outcomes: dict[str, int] = {}
    absences: list[Absence] = []
    rows = size_bytes = 0
    resolved = resolve(opener, market, pair, strict=True)
    with closing(resolved.source) as source:
        start_ms, end_ms = parse_instant(options.start, zone), parse_instant(options.end, zone)
        window = parse_window(start_ms=start_ms, end_ms=end_ms, now_ms=source.now_ms(), align_to=[zone])
        files = dataset_of(Store(options.root), resolved, zone=zone, window=window)
        for result in backfill(files, source, window):
            outcomes[result.outcome.value] = outcomes.get(result.outcome.value, 0) + 1
            if result.entry:
                rows += result.entry.rows
                size_bytes += result.entry.size_bytes
                absences += result.entry.absences
        weight = source.usage().spent
    stopwatch.report(rows=rows, bytes=size_bytes, outcomes=outcomes, absent=minutes_by_kind(absences), weight=weight)


def _options() -> argparse.Namespace:
    parser = load_parser(__doc__)
    parser.add_argument("--root", required=True, type=Path, help="data root")
    parser.add_argument("--source", default="rest", choices=SOURCE_NAMES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
