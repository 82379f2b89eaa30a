"""Live mode of several pairs that a user names: their datasets, and their marks.

Belongs here: what is done where one of them cannot be had. Does not belong here: following datasets (`app.live`), one
dataset (`app.live`), which pairs a user's words mean (`app.targets`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from market_data_pipeline.app.live import mark
from market_data_pipeline.app.targets import Target, dataset_from_today, find_or_create_dataset
from market_data_pipeline.core.errors import PASSING, MarketDataError, SourceUnavailable, StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.settings import Settings

_AT_ONCE = 8


@dataclass(slots=True)
class NamedDatasets:
    """The datasets of several pairs; `errors` has why one cannot be had, by its name, `passing` those that may pass."""

    datasets: list[Dataset] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)


def find_or_create_datasets(settings: Settings, targets: Sequence[Target]) -> NamedDatasets:
    """Find the datasets of the targets, or create ones that begin today. One that cannot be had hides no other.

    Where the exchange does not answer about one, it is not asked about others that are new: each was tried for long.

    Raises:
        UsageError: none can be had.
        SourceUnavailable: none can be had, and the exchange does not answer.
        StoreUnavailable: the disk takes no file.
    """
    named = NamedDatasets()
    store, unavailable = store_of(settings), None
    for target in targets:
        try:
            if unavailable and not store.find(target.market, target.pair):
                raise unavailable
            named.datasets.append(find_or_create_dataset(settings, target, strict_pair=True)[0])
        except StoreUnavailable:
            raise
        except MarketDataError as error:
            unavailable = unavailable or (error if isinstance(error, SourceUnavailable) else None)
            name = f"{target.market} {target.pair}"
            named.errors[name] = str(error)
            named.passing |= {name} if isinstance(error, PASSING) else set()
    if not named.datasets:
        raise unavailable or UsageError("; ".join(named.errors.values()))
    return named


def go_live_many(settings: Settings, targets: Sequence[Target]) -> list[Dataset]:
    """Mark the datasets of the targets as live; create those that are missing, which begin today.

    Returns:
        The datasets as they were before, those that were created without the mark.

    Raises:
        UsageError, StoreError, SourceError: the market does not list a pair, or it cannot be had; nothing was written.
    """
    store = store_of(settings)
    store.require_writable()

    def found(target: Target) -> Dataset:
        known = store.find(target.market, target.pair)
        return known or dataset_from_today(settings, target, strict_pair=True)[0]

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # for the requests about pairs that are new
        before = list(pool.map(found, targets))
    prepare_home(settings.home)
    for dataset in before:
        store.create(dataset.market, dataset.pair, zone=dataset.zone, start=dataset.start).mark_live(True)
    return before


def mark_many(settings: Settings, targets: Sequence[Target], *, live: bool) -> list[Dataset]:
    """Mark datasets as `app.live.mark` does; return those that were not so before.

    Raises:
        UsageError: there is no such dataset; nothing was marked.
    """
    store = store_of(settings)
    known = [(target, store.find(target.market, target.pair)) for target in targets]
    if missing := [target for target, dataset in known if dataset is None]:
        raise store.lacks(missing[0].market, missing[0].pair)
    return [
        mark(settings, target, live=live).dataset for target, dataset in known if dataset and dataset.live is not live
    ]
