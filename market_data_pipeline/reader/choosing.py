"""Which store, and which stored pairs, a user means with names, globs and universes.

Belongs here: the datasets of what was written. Does not belong here: how globs are read (`core.klines.patterns`) and
pairs spelled (`core.klines.pair`), reading klines (`klines`, `panel`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from market_data_pipeline.core.errors import StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market, parse_market
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.klines.patterns import Among, Patterns, parse_patterns
from market_data_pipeline.core.store.layout import snapshot_folder
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.lists import find_snapshot
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import hurried, root_at
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.core.text import refusal_of_disk

Pairs = str | Sequence[str]


def store_at(market: str | None, address: str | Path | None) -> tuple[Store, Market]:
    """The store and the market; what is None is taken from the settings.

    Raises:
        UsageError: there can be no such data root or market.
    """
    root = None if address is None else root_at(address)
    if market is None or root is None:
        from market_data_pipeline import settings  # importing it takes as long as all other imports together

        defaults = settings.load()
        market, root = market or defaults.market_type, root or defaults.root
    return Store(hurried(root)), parse_market(market)


def store_of_names(store: Store, as_of: str | None) -> Store:
    """Where datasets and universes are looked up: the store, or a snapshot of it.

    Raises:
        UsageError: there is no such snapshot.
        StoreError: its file is damaged.
    """
    if as_of is None:
        return store
    find_snapshot(store.root, as_of)
    return Store(snapshot_folder(store.root, as_of))


def words_of(
    store: Store, market: Market, pairs: Pairs, universe: str | None, *, has_chosen: bool, as_of: str | None = None
) -> tuple[Market, list[str]]:
    """The market, and names and globs: those of the universe, if there is one, then those of `pairs`.

    `store` is that of the names; `as_of` is the snapshot that it is.

    Raises:
        UsageError: there is no such universe; it is of another market, which `has_chosen` says the user has named; or
            a pair is no text.
    """
    if universe is None:
        return market, _written(pairs)
    named = find_universe(store.root, universe, as_of)
    if has_chosen:
        named.refuse_other(market)
    return named.market, [*named.pairs, *_written(pairs)]


def choose(store: Store, market: Market, words: Sequence[str], as_of: str | None = None) -> list[Dataset]:
    """The stored datasets that are meant: those of names in their order, then what globs match, by name.

    `store` and `as_of` as in `words_of`.

    Raises:
        UsageError: a pair is not stored or named twice, a glob matches nothing, or nothing is left.
        StoreError: the `dataset.json` of a pair is damaged that is named, or that a glob may match.
        StoreUnavailable: the folder of the market cannot be listed.
    """
    patterns = parse_patterns(words, has_contracts=market.has_contracts)
    with disk_in_one_line():
        known = _matching(store, market, patterns) if patterns.needs_candidates else {}
    chosen = patterns.choose(known, among(as_of))

    def find(pair: str) -> Dataset:
        return known.get(pair) or find_stored(store, market, pair, as_of)

    return list(in_order(find, chosen, threads=store.most_at_once))


def among(as_of: str | None) -> Among:
    """What globs choose among: what is stored, or what the snapshot has."""
    return Among.STORED if as_of is None else Among.SNAPSHOT


def find_stored(store: Store, market: Market, pair: str, as_of: str | None = None) -> Dataset:
    """The dataset of a pair in any spelling; `store` and `as_of` as in `words_of`.

    Raises:
        UsageError: it is no pair, or there is no such dataset.
        StoreError: its `dataset.json` is damaged.
    """
    name = parse_pair(pair, has_contracts=market.has_contracts)
    dataset = store.find(market, name)
    if dataset is None and as_of is not None:
        raise UsageError(f"the snapshot {as_of} has no {market} {name}; make another snapshot of it, or leave it out")
    if dataset is None:
        raise store.lacks(market, name)
    return dataset


@contextmanager
def disk_in_one_line() -> Iterator[None]:
    """Turn an error of the disk in the block into one of this package."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(refusal_of_disk(error)) from error


def _written(pairs: Pairs) -> list[str]:
    """Names and globs as the user wrote them."""
    written = [pairs] if isinstance(pairs, str) else list(pairs)
    if wrong := [each for each in written if not isinstance(each, str)]:
        raise UsageError(f"not a pair: {wrong[0]!r}; name pairs such as 'BTC/USDT' or '*/USDT'")
    return written


def _matching(store: Store, market: Market, patterns: Patterns) -> dict[str, Dataset]:
    """The datasets among which a glob may choose, by pair; of others, damage does not matter."""
    files = [path for path in store.dataset_files(market) if patterns.may_choose(path.parent.parent.name)]
    return {dataset.pair: dataset for dataset in store.read_each(files)}
