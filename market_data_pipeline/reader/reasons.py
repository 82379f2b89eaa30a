"""Why a pair has no kline in a minute, told for windows that are larger than what is stored.

Belongs here: what follows from a dataset about the minutes outside of it. Does not belong here: absences inside of it
(`stored`), bins (`grid`).

What was never requested is `not_requested` to a dataset. Who looks at many pairs at once wants to know more: before
the first day of the pair it was not listed, after a proven end it was delisted, and elsewhere outside of what is stored
the klines are only not loaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from market_data_pipeline.core.klines.coverage import FOREVER_MS, Kind, Span, intersect, subtract
from market_data_pipeline.core.klines.dataset import Dataset, default_start
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.reader.klines import DatasetKlines

NOT_LOADED = "not_loaded"
REASONS = (*(kind.value for kind in Kind), NOT_LOADED)
"""Every reason for which a place of a panel has no value."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A run of minutes without klines, and its one reason, of `REASONS`."""

    name: str
    start_ms: int
    end_ms: int


def reasons_of(klines: DatasetKlines, window: Span) -> list[Reason]:
    """The minutes of the window that have no kline, as spans with a reason, in order.

    Raises:
        StoreError: a chunk that the manifest does not list yet is damaged.
    """
    absences = klines.absences_of(window)
    found = [Reason(one.kind.value, one.span.start_ms, one.span.end_ms) for one in absences]
    if not any(reason.name == Kind.NOT_REQUESTED for reason in found):
        return found
    around = list(_around(klines))
    told: list[Reason] = []
    for reason in found:
        if reason.name != Kind.NOT_REQUESTED:
            told.append(reason)
            continue
        minutes = [Span(reason.start_ms, reason.end_ms)]
        parts = [(span, name) for part, name in around for span in intersect(minutes, [part])]
        told += [Reason(name, span.start_ms, span.end_ms) for span, name in sorted(parts)]
    return told


def _around(klines: DatasetKlines) -> Iterator[tuple[Span, str]]:
    """All of time in parts, each with the reason of its minutes that were not requested."""
    # Between two pairs of one symbol no day is stored, and neither was listed.
    between = [klines.dataset.reused] if klines.dataset.reused else []
    yield from ((span, Kind.NOT_LISTED.value) for span in between)
    for part, name in _but_for_reuse(klines):
        yield from ((span, name) for span in subtract([part], between))


def _but_for_reuse(klines: DatasetKlines) -> Iterator[tuple[Span, str]]:
    dataset, days = klines.dataset, klines.days()
    began_ms = dataset.first_day.start_ms
    first_ms, last_ms = began_ms, began_ms
    if days:
        first_ms, last_ms = dataset.day(days[0]).start_ms, dataset.day(days[-1]).end_ms
    began_ms = min(began_ms, first_ms)
    yield Span(-FOREVER_MS, began_ms), Kind.NOT_LISTED.value if _is_first_day(klines, dataset) else NOT_LOADED
    yield Span(began_ms, first_ms), NOT_LOADED
    yield Span(first_ms, last_ms), Kind.NOT_REQUESTED.value
    ended_ms = _ended_ms(klines, last_ms) if days else FOREVER_MS
    yield Span(last_ms, ended_ms), NOT_LOADED
    yield Span(ended_ms, FOREVER_MS), Kind.DELISTED.value


def _ended_ms(klines: DatasetKlines, last_ms: int) -> int:
    """Since when no kline can be loaded any more, from the end of the last stored day on."""
    if _kind_at(klines, last_ms - MINUTE_MS) is Kind.DELISTED:
        return last_ms
    ended_ms = klines.dataset.ended_ms
    # An end before days that are stored was none.
    return FOREVER_MS if ended_ms is None or ended_ms < last_ms else ended_ms


def _is_first_day(klines: DatasetKlines, dataset: Dataset) -> bool:
    """True if the dataset starts with the first day of the pair, and not with that of the first request."""
    is_late = dataset.start > default_start(dataset.zone)
    return is_late or _kind_at(klines, dataset.first_day.start_ms) is Kind.NOT_LISTED


def _kind_at(klines: DatasetKlines, minute_ms: int) -> Kind | None:
    absences = klines.absences_of(Span(minute_ms, minute_ms + MINUTE_MS))
    return absences[0].kind if absences else None
