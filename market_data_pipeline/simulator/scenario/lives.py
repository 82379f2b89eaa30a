"""The lives that a scenario tells.

Belongs here: pairs of a scenario as exchangeInfo shows them, the klines that REST and the archive have of their days.
Does not belong here: the keys themselves (`format`), pages and zips (`data.history`).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from market_data_pipeline.simulator.data.archive import ArchiveName, day_number
from market_data_pipeline.simulator.data.clock import DAY_MS, MINUTE_MS
from market_data_pipeline.simulator.data.halts import Stretch
from market_data_pipeline.simulator.data.lives import NO_ROWS, Lives
from market_data_pipeline.simulator.data.pairs import Market, Pair, split_symbol
from market_data_pipeline.simulator.data.prices import DAY_MINUTES, present_minutes, synthetic_day
from market_data_pipeline.simulator.data.rows import RowText, render, with_literal_rows
from market_data_pipeline.simulator.scenario.format import KlinesError, LifeSpec, ScenarioSpec

_END = 1 << 40
# Prices stay within one percent of their level, so that literal rows can be written next to them.
_CALM_OCTAVES = 4
_Rows = Mapping[int, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Life(Pair):
    """A pair with a life of its own."""

    spec: LifeSpec

    def known(self, now_ms: int) -> bool:
        """Return whether REST knows the symbol; before its first kline too, as an announced pair."""
        del now_ms
        return not self.spec.unlisted

    def listed(self, now_ms: int) -> bool:
        """Return whether exchangeInfo names the pair without being asked for it."""
        del now_ms
        return not self.spec.hidden

    def status(self, now_ms: int) -> str:
        """Return the status in exchangeInfo."""
        del now_ms
        return self.spec.status

    @property
    def contract_type(self) -> str:
        """Return the kind of a futures contract."""
        return self.spec.contractType

    @property
    def delivery_ms(self) -> int:
        """Return when a futures contract is settled."""
        return super().delivery_ms if self.spec.deliveryDate is None else self.spec.deliveryDate

    @property
    def refusal(self) -> KlinesError | None:
        """Return what klines requests are refused with."""
        return self.spec.klines_error

    @cached_property
    def flat_in(self) -> list[Stretch]:
        """Return the minutes without a trade."""
        return _stretches(self.spec.flat)

    @cached_property
    def absent_in(self) -> list[Stretch]:
        """Return the minutes without a kline over REST."""
        return _outside([self._own_span]) + _stretches(self.spec.gaps)

    @cached_property
    def absent_in_archive(self) -> list[Stretch]:
        """Return the minutes without a kline in the archive, which knows earlier lives too."""
        spans = [Stretch(old.first // MINUTE_MS, old.last // MINUTE_MS + 1) for old in self.spec.archive_only]
        return _outside([*spans, self._own_span]) + _stretches(self.spec.gaps)

    @cached_property
    def rest_rows(self) -> dict[int, _Rows]:
        """Return the literal rows by day and open time."""
        return _by_day(self.spec.rows)

    @cached_property
    def archived_rows(self) -> dict[int, _Rows]:
        """Return the literal rows of the archive by day and open time."""
        return _by_day([*self.spec.rows, *self.spec.archive_rows])

    @cached_property
    def days_without_file(self) -> frozenset[int]:
        """Return the days that the archive lacks."""
        return frozenset(_number(day) for day in self.spec.archive_missing)

    @cached_property
    def texts(self) -> dict[int, str]:
        """Return the literal texts of files by day."""
        return {_number(day): text for day, text in self.spec.archive_text.items()}

    def may_be_archived(self, number: int) -> bool:
        """Return whether the archive can have a file of the day, if it has klines."""
        first, last = self.spec.archive_first, self.spec.archive_last
        return (
            self.spec.archive
            and number not in self.days_without_file
            and (first is None or number >= _number(first))
            and (last is None or number <= _number(last))
        )

    @property
    def _own_span(self) -> Stretch:
        last = self.spec.last
        return Stretch(self.spec.first // MINUTE_MS, _END if last is None else last // MINUTE_MS + 1)


class ScenarioLives(Lives):
    """The pairs of a scenario, and no others."""

    def __init__(self, spec: ScenarioSpec) -> None:
        """Make the pairs."""
        markets: dict[Market, dict[str, LifeSpec]] = {"spot": spec.spot, "futures": spec.futures}
        self._lives = {
            (market, symbol): _life(market, symbol, life)
            for market, lives in markets.items()
            for symbol, life in lives.items()
        }
        self.pairs = self._lives

    def day(self, pair: Pair, number: int) -> RowText:
        """Return the klines of a day over REST."""
        life = self._lives[pair.market, pair.symbol]
        return _day(life, number, life.absent_in, life.rest_rows.get(number, {}))

    def archived_day(self, pair: Pair, number: int) -> RowText | None:
        """Return the klines of a day in the archive."""
        life = self._lives[pair.market, pair.symbol]
        if not life.may_be_archived(number):
            return NO_ROWS
        if not life.spec.archive_only and not life.spec.archive_rows:
            return None
        return _day(life, number, life.absent_in_archive, life.archived_rows.get(number, {}))

    def archived_text(self, name: ArchiveName) -> str | None:
        """Return the literal text of a daily file."""
        life = self._lives.get((name.market, name.symbol))
        number = day_number(name.first)
        if life is None or len(name.days) > 1 or not life.may_be_archived(number):
            return None
        return life.texts.get(number)

    def archived_days(self, pair: Pair, until: int) -> Iterable[int]:
        """Return the days with a file: those with a text that is not empty, and those with klines."""
        life = self._lives[pair.market, pair.symbol]
        opened = min([life.first_open_ms, *(old.first for old in life.spec.archive_only)])
        first = min([opened // DAY_MS, *life.texts, *life.archived_rows])
        for number in range(first, until):
            if life.may_be_archived(number) and _has_file(life, number):
                yield number


def _has_file(life: Life, number: int) -> bool:
    text = life.texts.get(number)
    if text is not None:
        return bool(text)
    return number in life.archived_rows or _has_minutes(number, life.absent_in_archive)


def _has_minutes(number: int, absent_in: Sequence[Stretch]) -> bool:
    """Return whether a UTC day has a minute outside of the stretches; most days lie outside or inside of one."""
    start, stop = number * DAY_MINUTES, (number + 1) * DAY_MINUTES
    near = [stretch for stretch in absent_in if stretch.start < stop and stretch.stop > start]
    if any(stretch.start <= start and stretch.stop >= stop for stretch in near):
        return False
    return not near or bool(present_minutes(number, near).any())


def _day(life: Life, number: int, absent_in: Sequence[Stretch], literal: _Rows) -> RowText:
    day = NO_ROWS
    if present_minutes(number, absent_in).any():
        day = render(life, synthetic_day(life, number, flat_in=life.flat_in, absent_in=absent_in))
    return with_literal_rows(day, literal) if literal else day


def _life(market: Market, symbol: str, spec: LifeSpec) -> Life:
    # The level of a pair without one is the same in each run, and of three digits.
    level = spec.price or 100 + int(hashlib.sha256(symbol.encode()).hexdigest()[:4], 16) % 900
    tick_decimals = min(8, max(2, 4 - math.floor(math.log10(level))))
    first_ms = min([spec.first, *(row[0] for row in spec.rows)])
    base, quote = split_symbol(symbol)
    return Life(
        market,
        spec.base or base,
        spec.quote or quote,
        _unit(tick_decimals),
        _unit(max(0, 5 - tick_decimals)),
        first_ms,
        None,
        level,
        20_000,
        0,
        ticker=symbol,
        octaves=_CALM_OCTAVES,
        spec=spec,
    )


def _unit(decimals: int) -> str:
    return f"{10**-decimals:.{decimals}f}"


def _stretches(spans: Iterable[tuple[int, int]]) -> list[Stretch]:
    return [Stretch(start // MINUTE_MS, end // MINUTE_MS) for start, end in spans]


def _outside(spans: list[Stretch]) -> list[Stretch]:
    """Return the stretches between, before and after the spans."""
    found, at = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        if span.start > at:
            found.append(Stretch(at, span.start))
        at = max(at, span.stop)
    return [*found, Stretch(at, _END)] if at < _END else found


def _by_day(rows: Iterable[Sequence[Any]]) -> dict[int, _Rows]:
    found: dict[int, dict[int, Sequence[Any]]] = {}
    for row in rows:
        found.setdefault(row[0] // DAY_MS, {})[row[0]] = row
    return dict(found)


def _number(day: str) -> int:
    return day_number(date.fromisoformat(day))
