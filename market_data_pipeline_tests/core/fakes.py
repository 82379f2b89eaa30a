"""Klines by formula, and an exchange that can be told what to do wrong. Does not belong here: any assertion."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import BadAnswer, SourceUnavailable
from market_data_pipeline.core.klines.coverage import PROVEN, Kind, Span, merge
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, Zone, day_of, parse_instant, parse_zone
from market_data_pipeline.core.klines.table import EMPTY, SCHEMA
from market_data_pipeline.core.sources.protocol import Life, Page, Recheck

REST = frozenset({"rest"})
UTC_ZONE = parse_zone("UTC")


def at(text: str) -> int:
    """The instant, ms UTC."""
    return parse_instant(text, UTC_ZONE)


def span(start: str, end: str) -> Span:
    return Span(at(start), at(end))


def day(key: str, zone: Zone = UTC_ZONE) -> Day:
    return day_of(zone, date.fromisoformat(key))


def whole(of: Day) -> Span:
    return Span(of.start_ms, of.end_ms)


def minutes_of(spans: Iterable[Span]) -> set[int]:
    """The open times of the spans' minutes."""
    return {minute for one in spans for minute in range(one.start_ms, one.end_ms, MINUTE_MS)}


def klines_at(open_times: Iterable[int]) -> pa.Table:
    """Valid klines, each a function of its open time alone."""
    times = np.array(sorted(open_times), np.int64)
    mixed = (times // MINUTE_MS * 2654435761) % 100_003
    opened, closed = 20_000 + mixed / 10, 20_000 + (mixed * 7 % 100_003) / 10
    volume = (mixed % 997) / 100
    columns = {
        "open_time": times,
        "open": opened,
        "high": np.maximum(opened, closed) + 0.1,
        "low": np.minimum(opened, closed) - 0.1,
        "close": closed,
        "volume": volume,
        "close_time": times + MINUTE_MS - 1,
        "quote_volume": volume * opened,
        "trades": mixed % 53,
        "taker_base_volume": volume / 2,
        "taker_quote_volume": volume * opened / 2,
        "ignore": np.zeros(len(times)),
    }
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def klines_of(within: Span, *, without: Iterable[Span] = ()) -> pa.Table:
    """A kline for every minute of the span that is not left out."""
    return klines_at(minutes_of([within]) - minutes_of(without))


def changed(klines: pa.Table, name: str, row: int, value: object) -> pa.Table:
    """The klines with one value put in place of another."""
    values = klines.column(name).to_pylist()
    values[row] = value
    at = SCHEMA.get_field_index(name)
    return klines.set_column(at, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))


class FakePages:
    """`Pages` of which the next one is always there."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self._pages = iter(pages)

    def __iter__(self) -> Iterator[Page]:
        return self

    def __next__(self) -> Page:
        return next(self._pages)

    def wait(self, timeout_s: float) -> bool:
        return True

    def close(self) -> None:
        if isinstance(self._pages, Generator):
            self._pages.close()


@dataclass
class FakeSource:
    """An exchange in memory: `KlineSource` with its truth and its faults as plain fields, to be changed at any time."""

    now: str = "2024-06-01T00:00Z"
    first: str = "2017-08-17T04:00Z"
    last: str | None = None
    missing: list[Span] = field(default_factory=list)
    """Minutes that the exchange never had, or has no more."""
    dropped: list[Span] = field(default_factory=list)
    """Minutes that it has and leaves out of the first answer."""
    drops_every_time: bool = False
    """Leaves one minute of `dropped` in each further answer, as if it could not make up its mind."""
    bad: list[Span] = field(default_factory=list)
    """Minutes to which it answers something that is not klines."""
    unavailable_from: str | None = None
    """It is not to be reached for this minute and later ones."""
    page_minutes: int = 1000
    listed: str | None = None
    """What it calls the pair; None if it does not say."""
    unproven: bool = False
    """No witness confirms that minutes it has not never had klines."""
    refuted: bool = False
    """A witness has klines of them, where none confirms."""
    warnings: list[str] = field(default_factory=list)

    asked: list[Span] = field(default_factory=list)
    """Every page that was asked for, in order."""
    closed_iterators: int = 0
    _times_dropped: Counter[int] = field(default_factory=Counter)

    def now_ms(self) -> int:
        return round(datetime.fromisoformat(self.now).timestamp() * 1000)

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        return Life(at(self.first), None if self.last is None else at(self.last), ended=self.last is not None)

    def settled_ms(self) -> int | None:
        return None if self.last is None else at(self.last) + MINUTE_MS

    def listed_pair(self) -> str | None:
        return self.listed

    def newest(self, wanted: Span, *, paid: bool = False) -> Page:
        page = self._page(wanted)
        if page.error:
            raise BadAnswer(page.error)
        return page

    def prefetch(self, spans: Iterable[Span]) -> None:
        pass

    def pages(self, spans: Iterable[Span]) -> "FakePages":
        return FakePages(self.each_page(spans))

    def each_page(self, spans: Iterable[Span]) -> Iterator[Page]:
        try:
            for one in spans:
                for start_ms in range(one.start_ms, one.end_ms, self.page_minutes * MINUTE_MS):
                    yield self._page(Span(start_ms, min(start_ms + self.page_minutes * MINUTE_MS, one.end_ms)))
        finally:
            self.closed_iterators += 1

    def recheck(self, gap: Span) -> Recheck:
        for page in self.pages([gap]):
            if page.error:
                raise BadAnswer(page.error)
            if page.klines.num_rows:
                return Recheck(page.klines, page.sources)
        kind = Kind.UNEXPLAINED if self.unproven else Kind.OUTAGE
        return Recheck(
            EMPTY, evidence=("fake: none of them",), kind=kind, refuted=PROVEN if self.refuted else frozenset()
        )

    def close(self) -> None:
        pass

    @property
    def asked_minutes(self) -> list[Span]:
        """What was asked for, as tidy spans."""
        return merge(self.asked)

    def forget(self) -> None:
        """Start counting what is asked anew."""
        self.asked.clear()

    def has(self, within: Span) -> pa.Table:
        """What the exchange truly has of the span."""
        return klines_at(self._has(within))

    def _has(self, within: Span) -> set[int]:
        closed_ms = self.now_ms() // MINUTE_MS * MINUTE_MS
        end_ms = closed_ms if self.last is None else min(closed_ms, at(self.last) + MINUTE_MS)
        alive = Span(max(within.start_ms, at(self.first)), min(within.end_ms, end_ms))
        return minutes_of([alive]) - minutes_of(self.missing)

    def _page(self, within: Span) -> Page:
        if self.unavailable_from is not None and within.end_ms > at(self.unavailable_from):
            raise SourceUnavailable("no answer from the fake exchange; check the network")
        self.asked.append(within)
        if minutes_of([within]) & minutes_of(self.bad):
            return Page(within, EMPTY, REST, "the fake exchange answered klines with nonsense")
        has = self._has(within)
        return Page(within, klines_at(has - self._left_out(has)), REST)

    def _left_out(self, has: set[int]) -> set[int]:
        doubtful = has & minutes_of(self.dropped)
        if self.drops_every_time:
            return doubtful - {min(doubtful, default=0)}
        first_time = {minute for minute in doubtful if not self._times_dropped[minute]}
        self._times_dropped.update(first_time)
        return first_time
