"""A universe against the catalog: which pairs it means now, and bringing the store to what `market-data.toml` says.

Belongs here: pairs that have klines in a window, marks of live mode. Does not belong here: the file
(`core.store.universes`), the catalog (`pairs`), loading (`bulk`).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.app.live import mark
from market_data_pipeline.app.market.bulk import ManyReport, backfill_many
from market_data_pipeline.app.market.pairs import Asked, load_catalog
from market_data_pipeline.app.targets import Target, targets_of
from market_data_pipeline.core.bulk.load import Message
from market_data_pipeline.core.catalog import catalog
from market_data_pipeline.core.catalog.pairs import PairStatus
from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_instant, parse_zone
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.store.universes import Universe
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings

OnWarnings = Callable[[Sequence[str]], object]
"""Called with what the catalog lacks: pairs may be missing among those that a glob has chosen."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a universe did: the load, and the datasets that were marked live, or not any more."""

    report: ManyReport
    marked: tuple[Dataset, ...]
    unmarked: tuple[Dataset, ...]


def traded_pairs(
    settings: Settings,
    market: Market,
    *,
    on_warnings: OnWarnings,
    tz: str | None = None,
    start: str | None = None,
    end: str | None = None,
    asked: Asked | None = None,
) -> list[str]:
    """The pairs of the catalog that were traded in a window: what globs of a load choose among.

    Args:
        settings: the defaults.
        market: the market.
        on_warnings: see `OnWarnings`.
        tz: the zone of a date.
        start: first instant as the user wrote it, None for the first day.
        end: end, exclusive, None for now.
        asked: as for `load_catalog`.

    Raises:
        UsageError: a text is no instant or zone.
        SourceUnavailable: there is no catalog, and neither the exchange nor its archive answers.
    """
    zone = parse_zone(tz or settings.align_tz)
    start_ms, end_ms = (parse_instant(text, zone) if text else None for text in (start, end))
    loaded = load_catalog(settings, market, asked=asked)
    on_warnings(loaded.warnings)
    return catalog.traded_pairs(loaded.pairs, zone, start_ms, end_ms)


def targets_of_universe(
    settings: Settings, universe: Universe, *, on_warnings: OnWarnings, asked: Asked | None = None
) -> list[Target]:
    """The pairs that a universe means now: those of its words that were traded since its start.

    With `asked` nothing is written, as in `load_catalog`.

    Raises:
        UsageError: a glob matches nothing.
        SourceUnavailable: there is no catalog, and neither the exchange nor its archive answers.
    """
    among = partial(traded_pairs, on_warnings=on_warnings, tz=universe.zone, start=universe.start, asked=asked)
    return targets_of(settings, universe.market.value, universe.pairs, universe.zone, among=among)


def requests_of_universe(
    settings: Settings, universe: Universe, *, on_warnings: OnWarnings, asked: Asked | None = None
) -> tuple[Settings, list[BackfillRequest]]:
    """What applying a universe loads, and the settings for it; `asked` as in `targets_of_universe`, which see.

    Raises:
        UsageError, SourceUnavailable: as `targets_of_universe`.
    """
    if universe.source:
        settings = settings.model_copy(update={"market_data_source": universe.source})
    targets = targets_of_universe(settings, universe, on_warnings=on_warnings, asked=asked)
    return settings, [BackfillRequest(target, start=universe.start) for target in targets]


def apply_universe(
    settings: Settings,
    universe: Universe,
    *,
    on_warnings: OnWarnings,
    on_start: Callable[[int], None],
    on_message: Callable[[WindowRequest, Message], None],
) -> Applied:
    """Bring the store to what the file says: load what is missing of each pair, then set the marks of live mode.

    New pairs join, pairs that have ended are completed once and then rest: nothing is asked about days that they have.

    Args:
        settings: the settings.
        universe: what to apply.
        on_warnings: see `OnWarnings`.
        on_start: called with the number of pairs.
        on_message: called with each request and what is told about it.

    Raises:
        UsageError, StoreUnavailable, SourceUnavailable: nothing was loaded.
    """
    settings, requests = requests_of_universe(settings, universe, on_warnings=on_warnings)
    on_start(len(requests))
    report = backfill_many(settings, requests, on_message=on_message)
    datasets = [loaded.dataset for loaded in report.datasets.values() if loaded.dataset]
    return Applied(report, *_set_marks(settings, universe, datasets))


def mark_universe(
    settings: Settings, universe: Universe, targets: Sequence[Target]
) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
    """Set the marks of live mode of those targets that have a dataset, as `apply_universe` does.

    A dataset that cannot be read is left out: dividing the load into runs has told of it.

    Returns:
        The datasets that are marked now, and those that are not any more.

    Raises:
        StoreError: a mark cannot be set.
        SourceUnavailable: there is no catalog, and neither the exchange nor its archive answers.
    """
    store, datasets = store_of(settings), list[Dataset]()
    for target in targets if universe.live is not None else ():
        with suppress(StoreError, UsageError):
            datasets += filter(None, [store.find(target.market, target.pair)])
    return _set_marks(settings, universe, datasets)


def _set_marks(
    settings: Settings, universe: Universe, datasets: Sequence[Dataset]
) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
    if universe.live is None:
        return (), ()
    pairs = load_catalog(settings, universe.market).pairs if universe.live else ()
    traded, paused = (
        {pair.symbol for pair in pairs if pair.status is status} for status in (PairStatus.TRADING, PairStatus.PAUSED)
    )
    # The exchange pauses pairs for minutes, all of them in a maintenance, and the catalog is made once a day.
    wanted = traded | {dataset.token for dataset in datasets if dataset.live and dataset.token in paused}
    changed = [dataset for dataset in datasets if dataset.live != (dataset.token in wanted)]
    for dataset in changed:
        mark(settings, Target(dataset.market, dataset.pair, dataset.zone, named=True), live=not dataset.live)
    return (
        tuple(dataset for dataset in changed if not dataset.live),
        tuple(dataset for dataset in changed if dataset.live),
    )
