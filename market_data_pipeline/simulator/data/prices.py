"""Synthetic klines: any UTC day of any pair, as a pure function of market, symbol and minute.

Belongs here: the price path, the hash that it is made of, and the integer columns of a day.
Does not belong here: klines as text (`rows`), which days are synthetic and which minutes have no kline (`lives`).

Only integer hashes and + - * / are used, so every machine computes the same values. Prices are counted in ticks and
quantities in steps. No kline is computed from another one: open and the close before are close to each other because
both are read from the same path.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market_data_pipeline.simulator.data.halts import Stretch
from market_data_pipeline.simulator.data.pairs import ALL_OCTAVES, Pair

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

DAY_MINUTES = 1440
_MASK = (1 << 64) - 1
_VOLATILITY = 0.0006  # of one minute; an octave of 2**k minutes swings 2**(k/2) times as far
_OCTAVES = tuple(range(0, 2 * ALL_OCTAVES, 2))
_SHARED_OCTAVE = 4  # from 16 minutes on, spot and futures of a pair follow the same path


@dataclass(frozen=True, slots=True)
class DayColumns:
    """The klines of one UTC day: minutes since the epoch, prices in ticks, quantities in steps."""

    minutes: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote_volume: Ints
    trades: Ints
    taker_base: Ints
    taker_quote: Ints


def synthetic_day(
    pair: Pair, day: int, *, flat_in: Sequence[Stretch] = (), absent_in: Sequence[Stretch] = ()
) -> DayColumns:
    """Return the klines of the UTC day that is `day` days after the epoch.

    Args:
        pair: whose klines.
        day: which day.
        flat_in: minutes without a trade, at the price at which their stretch begins.
        absent_in: minutes without a kline.
    """
    start = day * DAY_MINUTES
    minutes = np.arange(start, start + DAY_MINUTES, dtype=np.int64)
    path = _ticks(pair, start, DAY_MINUTES + 1)
    draws = _draws(pair, minutes)

    flat = draws[0] < pair.idle
    anchor = path[:-1].copy()
    for stretch in flat_in:
        inside = (minutes >= stretch.start) & (minutes < stretch.stop)
        anchor[inside] = _ticks(pair, stretch.start, 1)[0]
        flat |= inside

    close = np.where(flat, anchor, path[1:])
    open_ = np.where(flat, anchor, np.maximum(1, path[:-1] + (draws[1] * 5).astype(np.int64) // 4))
    reach = path[:-1] * (_VOLATILITY * (0.2 + 2.0 * draws[4]))
    high = np.where(flat, anchor, np.maximum(open_, close) + (reach * draws[2] * draws[2]).astype(np.int64))
    low = np.where(
        flat, anchor, np.maximum(1, np.minimum(open_, close) - (reach * draws[3] * draws[3]).astype(np.int64))
    )

    volume = np.where(flat, 0, _volume(pair, path[:-1], start, draws[4]))
    average = np.minimum(high, low + ((high - low + 1) * draws[5]).astype(np.int64))
    taker = (volume * (0.2 + 0.6 * draws[6])).astype(np.int64)
    trades = np.where(flat, 0, np.minimum(volume, _trades(pair, volume * average, draws[7])))

    columns = (minutes, open_, high, low, close, volume, volume * average, trades, taker, taker * average)
    present = present_minutes(day, absent_in)
    return DayColumns(*columns) if present.all() else DayColumns(*(column[present] for column in columns))


def present_minutes(day: int, absent_in: Sequence[Stretch]) -> npt.NDArray[np.bool_]:
    """Return for each minute of a UTC day whether it lies in none of the stretches."""
    start = day * DAY_MINUTES
    present = np.ones(DAY_MINUTES, dtype=np.bool_)
    for stretch in absent_in:
        present[max(0, stretch.start - start) : max(0, stretch.stop - start)] = False
    return present


def _ticks(pair: Pair, start: int, count: int) -> Ints:
    """Return the price path at `count` successive minute starts, at least one tick."""
    swing = np.zeros(count)
    for octave in _OCTAVES[: pair.octaves]:
        owner = pair.symbol if octave >= _SHARED_OCTAVE else f"{pair.market}:{pair.symbol}"
        swing += _noise(f"{owner}:{octave}", start, count, octave) * (_VOLATILITY * 2.0 ** (octave // 2))
    factor = 1.0 + swing / 64.0
    for _ in range(6):
        factor = factor * factor
    level = pair.price * 10.0**pair.tick_decimals
    return np.maximum(1, (factor * level + 0.5).astype(np.int64))


def _noise(name: str, start: int, count: int, octave: int) -> Floats:
    """Return smooth noise in [-1, 1] whose knots lie 2**octave minutes apart."""
    first = start >> octave
    knots = ((start + count - 1) >> octave) - first + 2
    values: Floats = _unit(_hash(_seed(name), np.arange(first, first + knots, dtype=np.uint64))) * 2.0 - 1.0
    if octave == 0:
        return values[:count]
    minutes = np.arange(start, start + count, dtype=np.int64)
    knot = (minutes >> octave) - first
    at = (minutes & ((1 << octave) - 1)) / float(1 << octave)
    left: Floats = values[knot]
    right: Floats = values[knot + 1]
    return left + (right - left) * (at * at * (3.0 - 2.0 * at))


def _draws(pair: Pair, minutes: Ints) -> list[Floats]:
    """Return eight independent numbers in [0, 1) for every minute."""
    first = _hash(_seed(f"{pair.market}:{pair.symbol}:minute"), minutes.astype(np.uint64))
    second = _hash(_seed("second"), first)
    return [
        ((word >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64) / 65536.0
        for word in (first, second)
        for shift in (0, 16, 32, 48)
    ]


def _volume(pair: Pair, ticks: Ints, start: int, draw: Floats) -> Ints:
    """Return a heavy-tailed volume in steps, busier at some hours than at others; never zero."""
    busy = 1.0 + 0.8 * _noise(f"{pair.symbol}:busy", start, len(ticks), 8)
    price = ticks / 10.0**pair.tick_decimals
    steps = pair.turnover * busy * (0.25 / (1.03 - draw)) / price * 10.0**pair.step_decimals
    return steps.astype(np.int64) + 1


def _trades(pair: Pair, quote: Ints, draw: Floats) -> Ints:
    ticket = math.sqrt(pair.turnover) * 10.0 ** (pair.tick_decimals + pair.step_decimals)
    return (quote / ticket * (0.5 + draw)).astype(np.int64) + 1


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _hash(seed: int, values: Hashes) -> Hashes:
    """Return splitmix64 of every value under a seed."""
    mixed = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & _MASK)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _unit(hashes: Hashes) -> Floats:
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
