"""Which stored pairs a user means with names and globs.

Belongs here: the datasets of what was written. Does not belong here: how globs are read (`core.klines.patterns`) and
pairs spelled (`core.klines.pair`), reading klines (`klines`, `panel`).
"""

from collections.abc import Sequence

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.klines.patterns import Among, Patterns, parse_patterns
from market_data_pipeline.core.store.root import Store


def choose(store: Store, market: Market, pairs: str | Sequence[str]) -> list[Dataset]:
    """The stored datasets that are meant: those of names in their order, then what globs match, by name.

    Raises:
        UsageError: a pair is not stored or named twice, a glob matches nothing, or nothing is left.
        StoreError: the `dataset.json` of a pair is damaged that is named, or that a glob may match.
    """
    patterns = parse_patterns(_written(pairs), has_contracts=market.has_contracts)
    known = _matching(store, market, patterns) if patterns.needs_candidates else {}
    return [known.get(pair) or find_stored(store, market, pair) for pair in patterns.choose(known, Among.STORED)]


def find_stored(store: Store, market: Market, pair: str) -> Dataset:
    """The dataset of a pair in any spelling.

    Raises:
        UsageError: it is no pair, or there is no such dataset.
        StoreError: its `dataset.json` is damaged.
    """
    name = parse_pair(pair, has_contracts=market.has_contracts)
    dataset = store.find(market, name)
    if dataset is None:
        raise UsageError(
            f"there is no {market} {name} under {store.root}; market-data status lists what is stored, "
            f"market-data --market {market} --pair {name} backfill loads it"
        )
    return dataset


def _written(pairs: str | Sequence[str]) -> list[str]:
    """Names and globs as the user wrote them."""
    written = [pairs] if isinstance(pairs, str) else list(pairs)
    if wrong := [each for each in written if not isinstance(each, str)]:
        raise UsageError(f"not a pair: {wrong[0]!r}; name pairs such as 'BTC/USDT' or '*/USDT'")
    return written


def _matching(store: Store, market: Market, patterns: Patterns) -> dict[str, Dataset]:
    """The datasets among which a glob may choose, by pair; of others, damage does not matter."""
    files = [path for path in store.dataset_files(market) if patterns.may_choose(path.parent.parent.name)]
    return {dataset.pair: dataset for dataset in store.read_each(files)}
