"""How far a dataset is behind the exchange, and whether that is the exchange's doing.

Belongs here: the lag and its verdict. Does not belong here: loading what is missing (`dataset`, `runs_due`), showing
the verdict.
"""

from dataclasses import dataclass

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.text import age_text

# One minute until the kline is closed, one for a tick that failed, one for the exchange.
ALLOWED_MINUTES = 3
# To learn whether the exchange has any newer kline takes no more.
MOST_MINUTES = 480
"""What one request can have on every market."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the newest kline is.

    Attributes:
        ok: False if the exchange has klines that should be stored by now.
        lag_minutes: closed minutes that are not stored; None if nothing is stored.
        detail: the verdict in one line.
    """

    ok: bool
    lag_minutes: int | None
    detail: str


def since_ms(store: DatasetStore) -> int | None:
    """The first minute after the newest stored kline that may still get a kline, ms UTC; None without a chunk."""
    in_chunks_ms = since_chunk_ms(store)
    if in_chunks_ms is None or store.journaled_ms is None:
        return in_chunks_ms
    return max(in_chunks_ms, store.journaled_ms + MINUTE_MS)


def since_chunk_ms(store: DatasetStore) -> int | None:
    """The same after the newest kline of a chunk, whatever the journal has."""
    newest = store.newest
    if newest is None:
        return None
    at_ms = (
        store.dataset.day(newest.day).start_ms if newest.last_open_time is None else newest.last_open_time + MINUTE_MS
    )
    for absence in newest.absences:
        # After an end the pair may be traded again at any minute.
        is_over = absence.kind.is_final and absence.kind is not Kind.DELISTED
        if is_over and absence.span.start_ms <= at_ms < absence.span.end_ms:
            at_ms = absence.span.end_ms
    return at_ms


def freshness(store: DatasetStore, source: KlineSource) -> Freshness:
    """Compare the newest stored kline with the exchange's clock and, where that is late, with the exchange's klines.

    Raises:
        SourceError: no response of the exchange, or one that is not klines.
    """
    since = since_ms(store)
    if since is None:
        return Freshness(ok=False, lag_minutes=None, detail="nothing stored yet")
    edge_ms = source.now_ms() // MINUTE_MS * MINUTE_MS
    lag = max(0, (edge_ms - since) // MINUTE_MS)
    stored = f"stored up to {iso(since)}"
    if lag <= ALLOWED_MINUTES:
        return Freshness(ok=True, lag_minutes=lag, detail=f"{stored}, {lag} min behind the exchange's clock")
    life = source.life(refresh=True)
    if life.last_open_ms is not None and since > life.last_open_ms:
        why = "is not traded any more" if life.ended else "is not traded at present"
        return Freshness(ok=True, lag_minutes=0, detail=f"{stored}, and the pair {why}")
    newer = source.newest(Span(since, min(edge_ms, since + MOST_MINUTES * MINUTE_MS))).klines
    newer = newer if newer.num_rows else source.newest(Span(edge_ms - ALLOWED_MINUTES * MINUTE_MS, edge_ms)).klines
    if newer.num_rows == 0:
        return Freshness(ok=True, lag_minutes=0, detail=f"{stored}, and the exchange has no newer kline for {lag} min")
    remedy = "turn the live sensor on, or run market-data live"
    return Freshness(ok=False, lag_minutes=lag, detail=f"{stored}, {age_text(lag)} behind the exchange; {remedy}")
