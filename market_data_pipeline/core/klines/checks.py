"""The rules of klines: those that every stored kline keeps, and those that may be broken as long as it is said.

Belongs here: the vectorised rules, each once, and whether a chunk's klines, flaws and absences agree. Does not belong
here: files, rows that are left out (`sifting`), days without a chunk (`proof.verify`), the pandera schema
(`proof.schema`).

A kline that is off the minute grid, has a value that is no finite number or no price cannot be stored. Any other kline
is kept as the exchange has it; the rules that it breaks are its flaws.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Absence, Span, gaps, merge, span_text, subtract
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA, column, open_times
from market_data_pipeline.core.text import count_text

Rows = npt.NDArray[np.bool_]
"""True for the klines that break a rule."""
PRICES = ("open", "high", "low", "close")
_NUMBERS = tuple(name for name in FIELDS if name not in {"open_time", "close_time"})
_AMOUNTS = ("volume", "quote_volume", "trades", "taker_base_volume", "taker_quote_volume")


def is_clean(klines: pa.Table) -> bool:
    """True if no kline breaks a rule, whatever comes before and after them: each part of them is clean, too.

    These few tests take a quarter of the time of the rules one by one, and nearly all klines pass them.
    """
    times = open_times(klines)
    if not len(times):
        return True
    steps = np.diff(times)
    on_grid = times[0] % MINUTE_MS == 0 and ((steps == MINUTE_MS).all() or _rises_by_minutes(steps))
    if not on_grid or (column(klines, "close_time") - times != MINUTE_MS - 1).any():
        return False
    opened, high, low, close = (column(klines, name) for name in PRICES)
    volume, quote, trades, taker, taker_quote = (column(klines, name) for name in _AMOUNTS)
    return bool(
        # What is no number is neither above nor below anything, so it fails these tests.
        low.min() > 0
        and (low <= np.minimum(opened, close)).all()
        and (high >= np.maximum(opened, close)).all()
        and high.max() < np.inf
        and taker.min() >= 0
        and (taker <= volume).all()
        and volume.max() < np.inf
        and taker_quote.min() >= 0
        and (taker_quote <= quote).all()
        and quote.max() < np.inf
        and trades.min() >= 0
        and np.isfinite(column(klines, "ignore")).all()
    )


def _rises_by_minutes(steps: npt.NDArray[np.int64]) -> bool:
    return bool((steps > 0).all() and not (steps % MINUTE_MS).any())


def unstorable(klines: pa.Table) -> dict[str, Rows]:
    """The rules whose breach keeps a kline from being stored, with the klines that break each; broken ones only."""
    rules = {"open_time is not on the minute grid": open_times(klines) % MINUTE_MS != 0}
    rules |= {f"{name} is not a number": ~np.isfinite(column(klines, name)) for name in _NUMBERS}
    rules |= {f"{name} is not a price": column(klines, name) <= 0 for name in PRICES}
    return {rule: rows for rule, rows in rules.items() if rows.any()}


def flaws(klines: pa.Table, *, sources: tuple[str, ...] = (), followed: bool = False) -> list[Flaw]:
    """The flaws of klines that can be stored, by time.

    Args:
        klines: sorted.
        sources: the names that the flaws get.
        followed: whether a minute may follow the last kline, which then must not end early.
    """
    times = open_times(klines)
    found = []
    for rule, rows in _flaw_rules(klines, followed=followed).items():
        if rows.any():
            values = column(klines, rule.partition(" ")[0])
            found += [Flaw(int(times[at]), rule, values[at].item(), sources) for at in np.flatnonzero(rows)]
    return sorted(found, key=lambda flaw: (flaw.open_time, flaw.rule))


def _flaw_rules(klines: pa.Table, *, followed: bool) -> dict[str, Rows]:
    times = open_times(klines)
    open_for = column(klines, "close_time") - times
    # A halt may cut the kline before it short (binance/binance-public-data#77); no other minute ends early.
    cut_by_halt = np.append(np.diff(times) > MINUTE_MS, not followed)[: len(times)]
    outside = (open_for <= 0) | (open_for >= MINUTE_MS)
    of = {name: column(klines, name) for name in _NUMBERS}
    return {
        "close_time is outside the minute": outside,
        "close_time is not the minute's last ms": ~outside & (open_for != MINUTE_MS - 1) & ~cut_by_halt,
        **{f"{name} is negative": of[name] < 0 for name in _AMOUNTS},
        "low is above open or close": of["low"] > np.minimum(of["open"], of["close"]),
        "high is below open or close": of["high"] < np.maximum(of["open"], of["close"]),
        "taker_base_volume is above volume": of["taker_base_volume"] > of["volume"],
        "taker_quote_volume is above quote_volume": of["taker_quote_volume"] > of["quote_volume"],
    }


def broken_rules(klines: pa.Table, within: Span) -> tuple[list[str], list[Flaw]]:
    """What keeps these klines, who should all open within the span, from being stored; their flaws if nothing does."""
    if klines.schema.remove_metadata() != SCHEMA:
        return [f"columns are {', '.join(klines.schema.names)}, not the twelve fields with their types"], []
    if any(field.null_count for field in klines.columns):
        return ["a value is missing"], []
    times = open_times(klines)
    outside = (times < within.start_ms) | (times >= within.end_ms)
    clean = is_clean(klines)
    if clean and not outside.any():
        return [], []
    rules = {
        **unstorable(klines),
        "open_time is not after the one before": np.append(False, np.diff(times) <= 0)[: len(times)],
        "open_time is outside the day": outside,
    }
    problems = [
        f"{rule}: {count_text(int(rows.sum()), 'kline')}, first at {iso(int(times[int(rows.argmax())]))}"
        for rule, rows in rules.items()
        if rows.any()
    ]
    return problems, [] if clean or problems else flaws(klines)


def flaw_problems(found: Sequence[Flaw], named: Sequence[Flaw]) -> Iterator[str]:
    """Flaws that klines have and that are not named, and named ones that they do not have."""
    has, said = ({(flaw.open_time, flaw.rule, flaw.value): flaw for flaw in every} for every in (found, named))
    for flaw in (flaw for key, flaw in has.items() if key not in said):
        yield f"{flaw.text}, and no flaw says so"
    for flaw in (flaw for key, flaw in said.items() if key not in has):
        yield f"named as a flaw and not one in the klines: {flaw.text}"


def coverage_problems(klines: pa.Table, absences: tuple[Absence, ...], day: Span) -> Iterator[str]:
    """The minutes of a day that are neither a kline nor named by exactly one absence."""
    absent = gaps(open_times(klines), day)
    if not absent and not absences:
        return
    named = merge(absence.span for absence in absences)
    if sum(absence.span.minutes for absence in absences) != sum(span.minutes for span in named):
        yield "two absences name the same minute"
    for span in subtract(absent, named):
        yield f"absent without a reason: {span_text(span)}"
    for span in subtract(named, absent):
        yield f"named absent and not absent in the day: {span_text(span)}"
