"""The catalog of a market as others use it: its pairs, those of a day, and what changed since a day.

Belongs here: what can be asked of a snapshot, or of two. Does not belong here: making a snapshot (`refresh`), which
pairs a user's words mean (`klines.patterns`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from market_data_pipeline.core.catalog.pairs import ListedPair, PairStatus, Snapshot, TradedDays
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import FOREVER_MS, Span, intersect
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import Zone, day_at, day_of, parse_zone

_UTC = parse_zone("UTC")


@dataclass(frozen=True, slots=True)
class Catalog:
    """A snapshot, with warnings about what it lacks, one line each."""

    snapshot: Snapshot
    warnings: tuple[str, ...] = ()

    @property
    def market(self) -> Market:
        """The market."""
        return self.snapshot.market

    @property
    def day(self) -> date:
        """The UTC day of the exchange's clock on which the pairs were known so."""
        return self.snapshot.day

    @property
    def pairs(self) -> Sequence[ListedPair]:
        """All pairs, by symbol."""
        return self.snapshot.pairs

    @property
    def names(self) -> list[str]:
        """The pairs as `klines.patterns` chooses among them, `BTC/USDT`."""
        return [pair.pair for pair in self.pairs]

    @property
    def first_day(self) -> date | None:
        """The first day on which any pair was traded; None if there is no pair."""
        return min((pair.first_day for pair in self.pairs), default=None)

    def at(self, day: date) -> list[ListedPair]:
        """The pairs that were traded on a UTC day.

        Raises:
            UsageError: the market had no pair yet, or the catalog is older than the day.
        """
        self.require_day(day)
        return [pair for pair in self.pairs if pair.was_traded(day)]

    def require_day(self, day: date) -> None:
        """Refuse a day that the catalog says nothing about.

        Raises:
            UsageError: the market had no pair yet, or the catalog is older than the day.
        """
        first = self.first_day
        if first is None or day < first:
            since = f"its first day is {first}" if first else "it has no pair"
            raise UsageError(f"{self.market} had no pair on {day}; {since}")
        if day > self.day:
            raise UsageError(
                f"the catalog of {self.market} is of {self.day} and tells nothing of {day}; name a day before"
            )


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different in a later snapshot, each by symbol; `lost` are pairs that it does not have."""

    new: tuple[ListedPair, ...] = ()
    ended: tuple[ListedPair, ...] = ()
    paused: tuple[ListedPair, ...] = ()
    resumed: tuple[ListedPair, ...] = ()
    lost: tuple[ListedPair, ...] = ()

    @property
    def nothing(self) -> bool:
        """True if nothing changed."""
        return not (self.new or self.ended or self.paused or self.resumed or self.lost)

    def among(self, symbols: Collection[str]) -> "Changes":
        """The changes of these pairs; those that are lost are always told."""

        def kept(pairs: Sequence[ListedPair]) -> tuple[ListedPair, ...]:
            return tuple(pair for pair in pairs if pair.symbol in symbols)

        return Changes(kept(self.new), kept(self.ended), kept(self.paused), kept(self.resumed), self.lost)


def changes_between(before: Snapshot, after: Snapshot) -> Changes:
    """What changed from one snapshot to a later one."""
    known = before.by_symbol()
    now = after.by_symbol()
    return Changes(
        new=tuple(pair for pair in after.pairs if pair.symbol not in known),
        ended=_turned(known, after, PairStatus.ENDED),
        paused=_turned(known, after, PairStatus.PAUSED),
        resumed=_turned(known, after, PairStatus.TRADING),
        lost=tuple(pair for pair in before.pairs if pair.symbol not in now),
    )


def traded_pairs(pairs: Iterable[ListedPair], zone: Zone, start_ms: int | None, end_ms: int | None) -> list[str]:
    """The pairs that were traded in a window, which is widened to whole days of a zone.

    Args:
        pairs: of a catalog.
        zone: the zone.
        start_ms: first instant, ms UTC, None for the first day.
        end_ms: end, exclusive, ms UTC, None for now.
    """
    start_ms = -FOREVER_MS if start_ms is None else day_at(zone, start_ms).start_ms
    window = Span(start_ms, FOREVER_MS if end_ms is None else day_at(zone, end_ms - 1).end_ms)
    return [pair.pair for pair in pairs if _is_traded(pair, window)]


def _is_traded(pair: ListedPair, window: Span) -> bool:
    """True if the pair has a life, which is whole UTC days, that reaches into the window."""
    lives = (
        Span(day_of(_UTC, life.first).start_ms, day_of(_UTC, life.last).end_ms if life.last else FOREVER_MS)
        for life in pair.lives
    )
    return bool(intersect(lives, [window]))


def as_of(snapshot: Snapshot, day: date) -> Snapshot:
    """What a snapshot tells of an earlier day: lives that began later left out, the last one open again.

    A pause of less than a month is not in the lives, so it is not in this snapshot either.
    """
    pairs = []
    for pair in snapshot.pairs:
        lives = tuple(life for life in pair.lives if life.first <= day)
        if not lives:
            continue
        last = lives[-1]
        if last.has(day):
            lives = (*lives[:-1], TradedDays(last.first, None))
            pairs.append(replace(pair, lives=lives, status=PairStatus.TRADING, delivered_ms=None))
        else:
            # A life that another one followed was a pause, or the end of another pair: no difference can be told.
            status = pair.status if len(lives) == len(pair.lives) else PairStatus.ENDED
            pairs.append(replace(pair, lives=lives, status=status))
    return Snapshot(snapshot.market, day, tuple(pairs))


def _turned(known: Mapping[str, ListedPair], after: Snapshot, status: PairStatus) -> tuple[ListedPair, ...]:
    return tuple(
        pair
        for pair in after.pairs
        if pair.status is status and pair.symbol in known and known[pair.symbol].status is not status
    )
