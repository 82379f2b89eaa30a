"""`backfill_many`, `combine_many` and `plan`: what the commands do for several pairs, as functions.

Belongs here: from parameters to a use case of `app` for many, and from its warnings to Python's. Does not belong here:
the work (`app`), one pair (`calls`), catalogs (`market`).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.app.combine import CombinedMany
from market_data_pipeline.app.market.bulk import ManyReport
from market_data_pipeline.app.market.pairs import Asked
from market_data_pipeline.app.market.planning import LoadPlan
from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.core.text import count_text, told_of
from market_data_pipeline.python.calls import as_in_python, warn
from market_data_pipeline.python.targets import settings_of, targets_for
from market_data_pipeline.reader.windows import Instant, instant_text
from market_data_pipeline.settings import Settings

Pairs = str | Sequence[str]


def backfill_many(
    pairs: Pairs = (),
    *,
    universe: str | None = None,
    market: str | None = None,
    start: Instant = None,
    end: Instant = None,
    tz: str | None = None,
    source: str | None = None,
    refetch: bool = False,
    align_window: bool = True,
    chunk_size: int | None = None,
    root: str | Path | None = None,
    progress: bool = False,
) -> ManyReport:
    """Load the days of a window of many pairs, several at once, like `market-data backfill` with several pairs.

    A pair that fails hides no other: look at `ok` and `failed` of the report. A report that is not `ok` is also a
    MarketDataWarning. A script must call it under `if __name__ == "__main__":`, because it starts processes.

    Args:
        pairs: names in any spelling, globs, which mean pairs that were traded in the window, and what to leave out.
        universe: the pairs of a universe of `market-data.toml`, too; it gives what is not given here.
        market: as for `backfill`, and so are the others.
        start: the first minute.
        end: the first minute after the window.
        tz: the zone of datasets that are new.
        source: `auto`, `rest` or `archive`.
        refetch: load days again that are already stored and complete.
        align_window: load whole days.
        chunk_size: rows per Parquet row group.
        root: the data root.
        progress: show the progress on stderr, as the command does.

    Raises:
        UsageError: a name, glob or universe means nothing, or a pair is named twice; nothing was written.
        StoreError, Unavailable: nothing was loaded.
    """
    from market_data_pipeline.app.market import bulk
    from market_data_pipeline.cli.market.progress import bulk_progress

    lacking: list[str] = []
    with as_in_python():
        settings, targets, first, last = _chosen(pairs, universe, market, start, end, tz, source, root, lacking)
        requests = [BackfillRequest(target, first, last, align_window, chunk_size, refetch) for target in targets]
        if not progress:
            report = bulk.backfill_many(settings, requests, on_message=lambda *_: None)
        else:
            with bulk_progress() as display:
                display.on_start(len(requests))
                report = bulk.backfill_many(settings, requests, on_message=display.on_message)
    warn(lacking)
    if not report.ok:
        first = next((f": {told_of(one.name, one.error or one.failed[0][1])}" for one in report.failed), "")
        warn([f"{count_text(len(report.failed), 'pair')} failed{first or f': {report.error}'}"])
    warn(f"{one.name}: {warning}" for one in report.datasets.values() for warning in one.warnings)
    return report


def plan(
    pairs: Pairs = (),
    *,
    universe: str | None = None,
    market: str | None = None,
    start: Instant = None,
    end: Instant = None,
    tz: str | None = None,
    source: str | None = None,
    refetch: bool = False,
    align_window: bool = True,
    root: str | Path | None = None,
) -> LoadPlan:
    """What a load will take, like `market-data backfill --plan`: days, requests, weight, bytes. Nothing is written.

    The parameters are those of `backfill_many`.

    Raises:
        UsageError: a name, glob or universe means nothing, or a pair is named twice.
        StoreError, SourceError: the only pair cannot be loaded.
    """
    from market_data_pipeline.app.market.planning import plan_backfill

    asked, lacking = Asked(), list[str]()
    with as_in_python():
        settings, targets, first, last = _chosen(pairs, universe, market, start, end, tz, source, root, lacking, asked)
        requests = [BackfillRequest(target, first, last, align_window, None, refetch) for target in targets]
        planned = plan_backfill(settings, requests, catalog=asked)
    warn(lacking)
    return planned


def combine_many(
    pairs: Pairs = (),
    *,
    universe: str | None = None,
    market: str | None = None,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    root: str | Path | None = None,
) -> CombinedMany:
    """Write the combined files of many datasets, like `market-data combine` with several pairs.

    One that fails hides no other: look at `ok` and `failed`, which are also MarketDataWarnings. Globs choose among what
    is stored; the other parameters are those of `combine`.

    Raises:
        UsageError: there is no such dataset, universe or zone, a glob matches nothing, a pair is named twice, or the
            first index is behind the last.
        StoreUnavailable: the disk takes no file.
    """
    from market_data_pipeline.app.combine import combine_datasets

    settings = settings_of(root)
    with as_in_python():
        targets = targets_for(settings, pairs, market, universe=universe)
        done = combine_datasets(settings, targets, tz=tz, from_index=from_index, to_index=to_index)
    warn([*(told_of(one.name, one.problem) for one in done.failed), *filter(None, [done.error])])
    return done


def _chosen(
    pairs: Pairs,
    universe: str | None,
    market: str | None,
    start: Instant,
    end: Instant,
    tz: str | None,
    source: str | None,
    root: str | Path | None,
    lacking: list[str],
    asked: Asked | None = None,
) -> tuple[Settings, list[Target], str | None, str | None]:
    """The settings, pairs, start and end of a load; a universe gives what the caller does not.

    What the catalog lacks is added to `lacking`, and what it took to `asked`.
    """
    from market_data_pipeline.app.market.universe import traded_pairs

    settings = settings_of(root, source)
    first, last = instant_text(start), instant_text(end)
    if universe is not None:
        found = find_universe(settings.root, universe)
        settings, first, tz = settings_of(root, source or found.source), first or found.start, tz or found.zone
    among = partial(traded_pairs, on_warnings=lacking.extend, tz=tz, start=first, end=last, asked=asked)
    return settings, targets_for(settings, pairs, market, tz, universe=universe, among=among), first, last
