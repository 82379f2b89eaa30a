"""A load of many pairs as parts, which are a dataset and a year each, and which of them lack something.

Belongs here: from requests, the catalog and the store to parts. Does not belong here: what Dagster knows of them
(`instance.queue`), submitting them (`fanout`).

A part is known from the catalog alone, so that thousands of pairs are divided without a request for each.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.app.market.bulk import run_config
from market_data_pipeline.core.catalog.catalog import Catalog
from market_data_pipeline.core.catalog.pairs import ListedPair
from market_data_pipeline.core.errors import MarketDataError, UsageError
from market_data_pipeline.core.klines.coverage import Span, intersect
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Zone, day_at, day_of, days_between, iso, parse_zone
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.core.loading.request import no_klines
from market_data_pipeline.core.loading.window import settled_before
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.queue.parts import Part
from market_data_pipeline.settings import Settings

_DAY_MS = 86_400_000
_UTC = parse_zone("UTC")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part, its dataset if that exists, its days until now, and whether all of them are stored."""

    part: Part
    dataset: Dataset | None
    days: frozenset[str]
    is_stored: bool


@dataclass(frozen=True, slots=True)
class Divided:
    """A load in pieces; `refused` has the name of each pair that cannot be loaded with the reason."""

    pieces: tuple[Piece, ...]
    refused: tuple[tuple[str, str], ...]
    this_year: int


def divide(
    settings: Settings, requests: Sequence[BackfillRequest], catalog: Catalog, *, universe: str | None
) -> Divided:
    """Divide a load into pieces.

    Args:
        settings: the settings.
        requests: one for each dataset.
        catalog: that of their market.
        universe: the named choice that the requests are of.

    Raises:
        UsageError: the window of the requests is wrong.
    """
    listed = catalog.snapshot.by_symbol()
    # The catalog may be older than this machine's clock says, and a simulated exchange lives in another year.
    now_ms = min(round(time.time() * 1000), day_of(_UTC, catalog.day).end_ms)
    pieces: list[Piece] = []
    refused: list[tuple[str, str]] = []
    for request in requests:
        request.instants()
        name = f"{request.target.market} {request.target.pair}"
        try:
            pair = listed.get(token_of(request.target.pair))
            if pair is None:
                raise UsageError(
                    f"the catalog of {request.target.market} has no {request.target.pair}; check the name, or ask "
                    "again with market-data pairs --refresh"
                )
            pieces += _pieces(settings, request, pair, now_ms, universe)
        except MarketDataError as error:
            refused.append((name, str(error)))
    return Divided(tuple(pieces), tuple(refused), day_at(_UTC, now_ms).date.year)


def _pieces(
    settings: Settings, request: BackfillRequest, pair: ListedPair, now_ms: int, universe: str | None
) -> Iterator[Piece]:
    """The pieces of one dataset.

    Raises:
        UsageError, StoreError: it cannot be loaded.
    """
    store = store_of(settings)
    known = store.find(pair.market, pair.pair)
    zone = known.zone if known else request.target.zone
    # Days of the dataset's own zone: in another one, two years might have a day in common.
    wanted = replace(request, target=replace(request.target, pair=pair.pair, zone=zone))
    start_ms, end_ms = request.instants()
    window = replace(request.wanted(), start_ms=start_ms, end_ms=end_ms).window(known, now_ms)
    life = Span(day_of(_UTC, pair.first_day).start_ms, day_of(_UTC, pair.last_day).end_ms if pair.last_day else now_ms)
    if not (within := intersect([window], [life])):
        raise no_klines(f"{pair.market} {pair.pair}", life.start_ms, life.end_ms if pair.last_day else None, window)
    entries = store.open(known).entries if known else {}
    for span in _years(zone, within[0]):
        days = days_between(zone, span.start_ms, span.end_ms)
        # The run of this year is for all days until its end, as it may begin on a later day than this.
        is_open = end_ms is None and span.end_ms >= now_ms
        until_ms = _year_end_ms(zone, now_ms) if is_open else span.end_ms
        days_config = {"start": iso(span.start_ms), "end": iso(until_ms), "in_catalog": True}
        part = Part(
            name=f"{pair.market} {pair.pair}",
            dataset=f"{pair.market.exchange_id}/{pair.symbol}",
            market=pair.market.value,
            first=days[0].key,
            last=day_at(zone, until_ms - 1).key,
            config=run_config(settings, [wanted]) | days_config,
            universe=universe,
        )
        is_stored = not request.refetch and all(_is_done(entries.get(day.key), day.end_ms, now_ms) for day in days)
        yield Piece(part, known, frozenset(day.key for day in days), is_stored)


def _years(zone: Zone, window: Span) -> Iterator[Span]:
    """The window in calendar years of the zone.

    The catalog has a pair's life in whole UTC days, so at its ends a year may seem to have a day of it and have none: a
    day alone at an end goes with the year beside it.
    """
    cuts = [
        cut_ms
        for year in range(day_at(zone, window.start_ms).date.year + 1, day_at(zone, window.end_ms - 1).date.year + 1)
        if window.start_ms + _DAY_MS < (cut_ms := day_of(zone, date(year, 1, 1)).start_ms) < window.end_ms - _DAY_MS
    ]
    edges = [window.start_ms, *cuts, window.end_ms]
    for start_ms, end_ms in zip(edges, edges[1:], strict=False):
        yield Span(start_ms, end_ms)


def _year_end_ms(zone: Zone, now_ms: int) -> int:
    return day_of(zone, date(day_at(zone, now_ms).date.year + 1, 1, 1)).start_ms


def _is_done(entry: Entry | None, day_end_ms: int, now_ms: int) -> bool:
    """True if a load would request nothing of the day."""
    is_unconfirmed = entry is not None and entry.was_read_live and day_end_ms <= settled_before(now_ms)
    return entry is not None and entry.complete and not is_unconfirmed
