"""The rules that klines must keep, as pure functions that name what breaks them.

Belongs here: the vectorised rules (a chunk is checked with them before it becomes visible) and the pandera schema (paid
per call, so `verify` gives it a month at a time). Does not belong here: files, days that are absent (`verify`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.coverage import Absence, Span, gaps, merge, subtract
from market_data_pipeline.core.days import MINUTE_MS, iso
from market_data_pipeline.core.klines import FIELDS, INTEGER_FIELDS, SCHEMA, column, open_times

if TYPE_CHECKING:
    import pandera.pandas as pandera


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: which check found it, on which day, and what it is, in one line."""

    check: str
    day: str
    problem: str


def broken_rules(klines: pa.Table, within: Span) -> Iterator[str]:
    """What is wrong with klines that should all open within the span; nothing where all is well."""
    if klines.schema.remove_metadata() != SCHEMA:
        yield f"columns are {', '.join(klines.schema.names)}, not the twelve fields with their types"
        return
    if any(klines.column(name).null_count for name in FIELDS):
        yield "a value is missing"
        return
    yield from _broken_times(klines, within)
    yield from _broken_values(klines)


def _broken_times(klines: pa.Table, within: Span) -> Iterator[str]:
    times = open_times(klines)
    yield from _where(times, times % MINUTE_MS != 0, "open_time is not on the minute grid")
    yield from _where(times[1:], np.diff(times) <= 0, "open_time is not after the one before")
    yield from _where(times, (times < within.start_ms) | (times >= within.end_ms), "open_time is outside the day")
    closes = column(klines, "close_time")
    yield from _where(times, (closes <= times) | (closes >= times + MINUTE_MS), "close_time is outside the minute")
    # A halt may cut the kline before it short (binance/binance-public-data#77); no other minute ends early.
    cut_by_halt = np.append(np.diff(times) > MINUTE_MS, True)
    yield from _where(times, (closes != times + MINUTE_MS - 1) & ~cut_by_halt, "close_time is not the minute's last ms")


def _broken_values(klines: pa.Table) -> Iterator[str]:
    times = open_times(klines)
    values = {name: column(klines, name) for name in FIELDS if name not in {"open_time", "close_time"}}
    for name, array in values.items():
        if name not in INTEGER_FIELDS:
            yield from _where(times, ~np.isfinite(array), f"{name} is not a number")
        if name != "ignore":
            yield from _where(times, array < 0, f"{name} is negative")
    low, high = values["low"], values["high"]
    yield from _where(times, low <= 0, "low is not a price")
    yield from _where(times, low > np.minimum(values["open"], values["close"]), "low is above open or close")
    yield from _where(times, high < np.maximum(values["open"], values["close"]), "high is below open or close")
    yield from _where(times, values["taker_base_volume"] > values["volume"], "taker_base_volume is above volume")
    yield from _where(
        times, values["taker_quote_volume"] > values["quote_volume"], "taker_quote_volume is above quote_volume"
    )


def _where(times: np.ndarray, broken: np.ndarray, rule: str) -> Iterator[str]:
    if broken.any():
        yield f"{rule}: {int(broken.sum())} klines, first at {iso(int(times[int(broken.argmax())]))}"


def broken_coverage(klines: pa.Table, absences: tuple[Absence, ...], day: Span) -> Iterator[str]:
    """What is wrong with a day whose minutes should each be either a kline or named by one absence."""
    absent = gaps(open_times(klines), day)
    named = merge(absence.span for absence in absences)
    if sum(absence.span.minutes for absence in absences) != sum(span.minutes for span in named):
        yield "two absences name the same minute"
    for span in subtract(absent, named):
        yield f"{span.minutes} minutes from {iso(span.start_ms)} are absent and no absence says why"
    for span in subtract(named, absent):
        yield f"{span.minutes} minutes from {iso(span.start_ms)} are named absent and are not absent in the day"


def schema() -> "pandera.DataFrameSchema":
    """The pandera schema of a table of klines: twelve fields, their types, their ranges, unique open times."""
    import pandera.pandas as pandera

    def field(name: str) -> "pandera.Column":
        at_least = None if name == "ignore" else pandera.Check.ge(0)
        kind = "int64" if name in INTEGER_FIELDS else "float64"
        return pandera.Column(kind, checks=at_least, nullable=False, unique=name == "open_time")

    return pandera.DataFrameSchema({name: field(name) for name in FIELDS}, strict=True, ordered=True)


def breaks_schema(klines: pa.Table, expected: "pandera.DataFrameSchema") -> str | None:
    """What the pandera schema says against the klines, in one line; None where they keep it."""
    from pandera.errors import SchemaErrors

    try:
        expected.validate(klines.to_pandas(), lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        rules = sorted({f"{case.column}: {case.check}" for case in cases.itertuples()})
        return f"{len(cases)} values break the schema ({'; '.join(rules)})"
    return None
