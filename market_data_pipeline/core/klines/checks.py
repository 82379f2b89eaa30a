"""The rules that every stored kline keeps, as functions that return one line for each rule that is broken.

Belongs here: the vectorised rules that a chunk is checked with before it becomes visible. Does not belong here: files,
days without a chunk (`proof.verify`), the pandera schema (`proof.schema`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Absence, Span, gaps, merge, span_text, subtract
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA, column, open_times

Times = npt.NDArray[np.int64]
# Names of rules, and a matrix (rules, klines) that is True where a kline breaks the rule.
Rules = tuple[Sequence[str], npt.NDArray[np.bool_]]
_NUMBERS = tuple(name for name in FIELDS if name not in {"open_time", "close_time"})


def kline_problems(klines: pa.Table, within: Span) -> Iterator[str]:
    """The rules that these klines break, which should all open within the span; nothing if they break none."""
    if klines.schema.remove_metadata() != SCHEMA:
        yield f"columns are {', '.join(klines.schema.names)}, not the twelve fields with their types"
        return
    if any(field.null_count for field in klines.columns):
        yield "a value is missing"
        return
    times = open_times(klines)
    for rules, broken in [*_of_times(klines, times, within), *_of_values(klines)]:
        # All rules at once first, as nearly always none is broken.
        if broken.any():
            for rule, rows in zip(rules, broken, strict=True):
                if rows.any():
                    first = iso(int(times[int(rows.argmax())]))
                    yield f"{rule}: {int(rows.sum())} klines, first at {first}"


def _of_times(klines: pa.Table, times: Times, within: Span) -> Iterator[Rules]:
    steps, open_for = np.diff(times), column(klines, "close_time") - times
    # Nearly always it is a run of whole minutes, which these few tests show; the rules one by one take longer.
    is_run = len(times) > 0 and within.start_ms <= times[0] and times[-1] < within.end_ms
    if not (is_run and times[0] % MINUTE_MS == 0 and (steps == MINUTE_MS).all()):
        yield (
            (
                "open_time is not on the minute grid",
                "open_time is not after the one before",
                "open_time is outside the day",
            ),
            np.stack(
                [
                    times % MINUTE_MS != 0,
                    np.append(False, steps <= 0)[: len(times)],
                    (times < within.start_ms) | (times >= within.end_ms),
                ]
            ),
        )
    if (short := open_for != MINUTE_MS - 1).any():
        # A halt may cut the kline before it short (binance/binance-public-data#77); no other minute ends early.
        cut_by_halt = np.append(steps > MINUTE_MS, True)[: len(times)]
        yield (
            ("close_time is outside the minute", "close_time is not the minute's last ms"),
            np.stack([(open_for <= 0) | (open_for >= MINUTE_MS), short & ~cut_by_halt]),
        )


def _of_values(klines: pa.Table) -> Iterator[Rules]:
    values = np.stack([column(klines, name) for name in _NUMBERS])
    yield [f"{name} is not a number" for name in _NUMBERS], ~np.isfinite(values)
    yield [f"{name} is negative" for name in _NUMBERS[:-1]], values[:-1] < 0
    of = dict(zip(_NUMBERS, values, strict=True))
    bounds = {
        "low is not a price": of["low"] <= 0,
        "low is above open or close": of["low"] > np.minimum(of["open"], of["close"]),
        "high is below open or close": of["high"] < np.maximum(of["open"], of["close"]),
        "taker_base_volume is above volume": of["taker_base_volume"] > of["volume"],
        "taker_quote_volume is above quote_volume": of["taker_quote_volume"] > of["quote_volume"],
    }
    yield list(bounds), np.stack(list(bounds.values()))


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
