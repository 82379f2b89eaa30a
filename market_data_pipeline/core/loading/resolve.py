"""From what a user names to a dataset: which pair it is really about, and the dataset's files, made ready.

Belongs here: the fallback for unknown pairs, and the creation of datasets. Does not belong here: loading (`backfill`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from market_data_pipeline.core.errors import PairNotListed, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import FALLBACK_PAIR, Market
from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.core.loading.load_days import asked_of
from market_data_pipeline.core.loading.plan import dataset_start
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store

OpenSource = Callable[[Market, str], KlineSource]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The pair that will be worked on and its source; `warning` is set if it is not the pair that was named."""

    market: Market
    pair: str
    source: KlineSource
    warning: str | None = None


def resolve(open_source: OpenSource, market: Market, pair: str, *, strict: bool) -> Resolved:
    """The pair if the market lists it or ever did, else BTC/USDT with a warning.

    Args:
        open_source: gives the source of a pair.
        market: the market.
        pair: the pair as named.
        strict: refuse an unknown pair instead of falling back.

    Raises:
        UsageError: the pair is unknown, and `strict`.
        SourceUnavailable: no answer to be had.
    """
    source = open_source(market, pair)
    try:
        source.life()
    except PairNotListed:
        source.close()
        if strict:
            raise UsageError(f"{market} does not list {pair}; check the name, or the other --market") from None
    except BaseException:
        source.close()
        raise
    else:
        return Resolved(market, pair, source)
    fallback = open_source(market, FALLBACK_PAIR)
    warning = f"{market} does not list {pair}: working on {FALLBACK_PAIR} INSTEAD (--strict-pair refuses)"
    return Resolved(market, FALLBACK_PAIR, fallback, warning)


def prepare(store: Store, resolved: Resolved, *, zone: Zone, window: Span) -> DatasetStore:
    """The dataset's files, created if need be, with `window` noted as asked for.

    Args:
        store: the data root.
        resolved: the pair and its source.
        zone: the zone of the dataset if it does not exist yet.
        window: the asked minutes, as far as the exchange can have them.

    Raises:
        StoreError: the data root takes no files, or `dataset.json` is damaged.
    """
    store.require_writable()
    life, now_ms = resolved.source.life(), resolved.source.now_ms()
    files = store.create(resolved.market, resolved.pair, zone=zone, start=dataset_start(zone, life, window))
    if asked := asked_of(window, life, now_ms):
        files.note_requested(asked, dataset_start(files.dataset.zone, life, asked))
    return files
