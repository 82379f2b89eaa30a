"""From the pair that a user names to the pair that is worked on, and to its dataset on disk.

Belongs here: the fallback for unknown pairs, and the creation of datasets. Does not belong here: loading (`load_days`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from market_data_pipeline.core.errors import PairNotListed, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import FALLBACK_PAIR, Dataset, Market
from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.core.klines.pair import has_slash, pair_by_rule, require_same
from market_data_pipeline.core.loading.window import dataset_start
from market_data_pipeline.core.sources.interrupts import ended_if_interrupted, result_of
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store

OpenSource = Callable[[Market, str], KlineSource]
"""Opens the source of a pair on a market. The caller closes it."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The pair that is worked on, with base and quote, and its open source.

    `warning` is set if it is not the pair that was named.
    """

    market: Market
    pair: str
    source: KlineSource
    warning: str | None = None


def resolve(
    open_source: OpenSource,
    market: Market,
    pair: str,
    *,
    strict: bool,
    known: Dataset | None = None,
    in_catalog: bool = False,
) -> Resolved:
    """The pair if the market lists it or ever did, else BTC/USDT with a warning.

    Args:
        open_source: opens the source of a pair.
        market: the market.
        pair: the pair as named, in any spelling that `parse_pair` returns.
        strict: refuse an unknown pair instead of falling back.
        known: the pair's dataset if there is one: it has base and quote, which the exchange is asked for otherwise.
        in_catalog: the pair has base and quote from the catalog. On futures the exchange has no shorter answer about
            one pair than its list of all, 2 MB for each pair of a load of many.

    Raises:
        UsageError: the pair is unknown, and `strict`; or it has another base and quote than the exchange's.
        SourceUnavailable: the exchange does not answer.
    """
    source = open_source(market, pair)
    try:
        pair = _listed(source, pair, known, in_catalog=in_catalog)
    except PairNotListed:
        source.close()
        if strict:
            raise UsageError(f"{market} does not list {pair}; check the name, or the other market") from None
    except BaseException:
        source.close()
        raise
    else:
        return Resolved(market, pair, source)
    fallback = open_source(market, FALLBACK_PAIR)
    refusing = "--strict-pair or strict_pair=True refuses"
    warning = f"{market} does not list {pair}: working on {FALLBACK_PAIR} INSTEAD ({refusing})"
    return Resolved(market, FALLBACK_PAIR, fallback, warning)


def _listed(source: KlineSource, named: str, known: Dataset | None, *, in_catalog: bool) -> str:
    """The pair with base and quote, where the market lists it or ever did.

    Raises:
        PairNotListed: it never did.
        UsageError: the pair has another base and quote, or it is not clear which.
    """
    if known or (in_catalog and has_slash(named)):
        source.life()
        return known.pair if known else named
    # Beside the requests that `life` sends, so that no load waits for it.
    with ThreadPoolExecutor(1) as beside, ended_if_interrupted(source.close):
        listed = beside.submit(source.listed_pair)
        source.life()
        pair = result_of(listed)
    if pair is None:
        return pair_by_rule(named)
    require_same(named, pair)
    return pair


def new_dataset(resolved: Resolved, *, zone: Zone, window: Span) -> Dataset:
    """The pair's dataset as it is when it is created. Nothing is written.

    Args:
        resolved: the pair and its source.
        zone: the zone of the dataset.
        window: the requested minutes; the dataset may start with them.

    Raises:
        SourceUnavailable: the exchange does not answer.
    """
    start = dataset_start(zone, resolved.source.life(window.start_ms), window)
    return Dataset(resolved.market, resolved.pair, zone, start)


def dataset_of(store: Store, resolved: Resolved, *, zone: Zone, window: Span) -> DatasetStore:
    """The files of the pair's dataset, which is created as `new_dataset` if it does not exist.

    Raises:
        StoreError: `dataset.json` is damaged.
        SourceUnavailable: the exchange does not answer.
    """
    new = new_dataset(resolved, zone=zone, window=window)
    return store.create(new.market, new.pair, zone=new.zone, start=new.start)
