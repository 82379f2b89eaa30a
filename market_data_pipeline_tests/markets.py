"""A market of 400 pairs as a scenario, and the truth about it: which pair was traded on which day.

Belongs here: pairs that live, end, are delivered, used again, and have names of other scripts. Does not belong here:
assertions, playing a scenario (`simulator.scenarios`).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

NOW = datetime(2024, 5, 15, 12, tzinfo=UTC)
TODAY = NOW.date()
FIRST = date(2021, 1, 1)
PAIRS, DEAD, REUSED, DELIVERY, NON_ASCII = 400, 60, 5, 10, ("币安人生USDT", "我踏马来了USDT", "牛来USDT")
Lives = list[tuple[date, date | None]]


@dataclass(frozen=True)
class Market:
    """The document of a scenario, and the days of all lives of each symbol."""

    scenario: dict[str, Any]
    lives: dict[str, Lives]

    def at(self, day: date) -> set[str]:
        """The symbols that were traded on a day."""
        return {
            symbol
            for symbol, lives in self.lives.items()
            if any(first <= day and (last is None or day <= last) for first, last in lives)
        }


def whole_market(seed: int = 1) -> Market:
    """The market of futures: 400 pairs, of which 60 are dead, 5 reused, 10 delivered and 3 not of ASCII."""
    draw = random.Random(seed)
    pairs: dict[str, dict[str, Any]] = {"BTCUSDT": {"first": "2019-09-08T17:57Z"}}
    lives: dict[str, Lives] = {"BTCUSDT": [(date(2019, 9, 8), None)]}
    for symbol, spec, days in [*_dead(draw), *_reused(draw), *_delivered(), *_others(draw)]:
        pairs[symbol], lives[symbol] = spec, days
    pairs |= {f"SOON{number}USDT": {"first": "2024-06-01T00:00Z", "status": "PENDING_TRADING"} for number in range(3)}
    return Market({"now": NOW.isoformat(), "speed": 0, "futures": pairs}, lives)


def _dead(draw: random.Random) -> Iterator[tuple[str, dict[str, Any], Lives]]:
    """Settled and still listed; settled with flat klines after it; and gone from REST."""
    for number in range(DEAD):
        first = FIRST + timedelta(draw.randrange(600))
        last = first + timedelta(draw.randrange(1, 500))
        spec: dict[str, Any] = {"first": _at(first, 8), "last": _at(last, 8, 59)}
        if number % 3 == 0:
            spec |= {"unlisted": True, "hidden": True}
        else:
            spec |= {"status": "SETTLING", "deliveryDate": _at(last, 9)}
        if number % 3 == 1:
            spec["last"] = _at(last + timedelta(20), 8)
            spec["flat"] = [[_at(last, 9), _at(last + timedelta(21), 0)]]
        yield f"DEAD{number:02}USDT", spec, [(first, last)]


def _reused(draw: random.Random) -> Iterator[tuple[str, dict[str, Any], Lives]]:
    """A symbol of two contracts, months apart or some days, the second one listed by REST alone."""
    for number in range(REUSED):
        first = FIRST + timedelta(draw.randrange(200))
        last = first + timedelta(draw.randrange(100, 300))
        again = last + timedelta(draw.randrange(70, 300) if number else 10)
        old = {"first": _at(first, 0), "last": _at(last, 8, 59)}
        yield f"TWICE{number}USDT", {"first": _at(again, 17), "archive_only": old}, [(first, last), (again, None)]


def _delivered() -> Iterator[tuple[str, dict[str, Any], Lives]]:
    for number in range(DELIVERY):
        last = date(2021, 9, 24) + timedelta(91 * number)
        first = last - timedelta(180)
        spec: dict[str, Any] = {"first": _at(first, 8), "contractType": "CURRENT_QUARTER", "deliveryDate": _at(last, 8)}
        is_over = last < TODAY
        if is_over:
            spec |= {"last": _at(last, 7, 59), "hidden": True, "unlisted": True}
        yield f"BTCUSDT_{last:%y%m%d}", spec, [(first, last if is_over else None)]


def _others(draw: random.Random) -> Iterator[tuple[str, dict[str, Any], Lives]]:
    count = PAIRS - 1 - DEAD - REUSED - DELIVERY - len(NON_ASCII)
    for symbol in (*NON_ASCII, *(f"LIVE{number:03}USDT" for number in range(count))):
        first = FIRST + timedelta(draw.randrange(1200))
        yield symbol, {"first": _at(first, 12)}, [(first, None)]


def _at(day: date, hour: int, minute: int = 0) -> str:
    return f"{datetime.combine(day, time(hour, minute)).isoformat(timespec='minutes')}Z"
