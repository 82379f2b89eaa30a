"""Which minutes are present, which are absent, and why.

Belongs here: spans of minutes, gaps (a fact: a maximal run of absent minutes) and absences (a gap with a kind). Does
not belong here: how a kind is found out (`loading.absences`), or which kinds are errors (`proof.verify`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.text import count_text

FOREVER_MS = 1 << 62
"""Later than any instant that occurs."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open window of whole minutes, ms UTC."""

    start_ms: int
    end_ms: int

    @property
    def minutes(self) -> int:
        """How many minutes the span has."""
        return (self.end_ms - self.start_ms) // MINUTE_MS


class Kind(StrEnum):
    """Why a minute has no kline. Only `UNEXPLAINED` is a failure."""

    NOT_LISTED = "not_listed"
    DELISTED = "delisted"
    OUTAGE = "outage"
    SUSPENDED = "suspended"
    MALFORMED = "malformed"
    OPEN = "open"
    NOT_REQUESTED = "not_requested"
    UNEXPLAINED = "unexplained"

    @property
    def is_final(self) -> bool:
        """True if the exchange has no such kline, so that requesting it again would not help.

        A `delisted` minute is requested again once the pair turns out to be traded after all.
        """
        return self not in {Kind.OPEN, Kind.NOT_REQUESTED, Kind.UNEXPLAINED}


PROVEN = frozenset({Kind.OUTAGE, Kind.SUSPENDED})
"""The kinds of minutes of which witnesses have proven that the exchange has no kline."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A run of absent minutes with its one reason, and a line of evidence from each source that was asked."""

    kind: Kind
    span: Span
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As people read it: `outage: 284 minutes from 2021-04-25T04:01Z (rest: none, asked twice; ...)`."""
        evidence = f" ({'; '.join(self.evidence)})" if self.evidence else ""
        return f"{self.kind}: {span_text(self.span)}{evidence}"


def gaps(open_times: npt.NDArray[np.int64], within: Span) -> list[Span]:
    """The maximal runs of minutes of `within` that are not in `open_times` (sorted, unique, on the minute grid)."""
    low, high = np.searchsorted(open_times, [within.start_ms, within.end_ms])
    if high - low == within.minutes:
        return []
    edges = np.concatenate(([within.start_ms - MINUTE_MS], open_times[low:high], [within.end_ms]))
    before = np.flatnonzero(np.diff(edges) > MINUTE_MS)
    return [Span(int(edges[at]) + MINUTE_MS, int(edges[at + 1])) for at in before]


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same minutes as sorted, disjoint, non-empty spans; touching ones become one."""
    merged: list[Span] = []
    for span in sorted(span for span in spans if span.start_ms < span.end_ms):
        if merged and span.start_ms <= merged[-1].end_ms:
            merged[-1] = Span(merged[-1].start_ms, max(merged[-1].end_ms, span.end_ms))
        else:
            merged.append(span)
    return merged


def intersect(left: Iterable[Span], right: Iterable[Span]) -> list[Span]:
    """The minutes that are in both."""
    if not (others := merge(right)):
        return []
    return merge(
        Span(max(one.start_ms, other.start_ms), min(one.end_ms, other.end_ms))
        for one in left
        for other in others
        if one.start_ms < other.end_ms and other.start_ms < one.end_ms
    )


def subtract(left: Iterable[Span], right: Iterable[Span]) -> list[Span]:
    """The minutes that are in `left` and not in `right`."""
    left = merge(left)
    taken = merge(right) if left else []
    return merge(piece for span in left for piece in _without(span, taken)) if taken else left


def _without(span: Span, taken: list[Span]) -> Iterator[Span]:
    at = span.start_ms
    for hole in taken:
        if hole.end_ms <= at or hole.start_ms >= span.end_ms:
            continue
        if hole.start_ms > at:
            yield Span(at, hole.start_ms)
        at = hole.end_ms
    if at < span.end_ms:
        yield Span(at, span.end_ms)


def span_text(span: Span) -> str:
    """How long the span is and where it begins: `284 minutes from 2021-04-25T04:01Z`."""
    return f"{count_text(span.minutes, 'minute')} from {iso(span.start_ms)}"


def total_minutes(spans: Iterable[Span]) -> int:
    """How many minutes the spans have together."""
    return sum(span.minutes for span in spans)


def explain(absent: Iterable[Span], reasons: Iterable[Absence]) -> list[Absence]:
    """The absent minutes, each with the first of `reasons` that names it; the rest is `unexplained`. Sorted by time."""
    left = merge(absent)
    explained: dict[tuple[Kind, tuple[str, ...]], list[Span]] = {}
    for reason in [*reasons, Absence(Kind.UNEXPLAINED, Span(-FOREVER_MS, FOREVER_MS))]:
        if hit := intersect(left, [reason.span]):
            explained.setdefault((reason.kind, reason.evidence), []).extend(hit)
            left = subtract(left, hit)
    absences = [Absence(kind, span, lines) for (kind, lines), spans in explained.items() for span in merge(spans)]
    return sorted(absences, key=lambda absence: absence.span)


def minutes_by_kind(absences: Iterable[Absence]) -> dict[str, int]:
    """Absent minutes per kind, for tables and metadata."""
    counted: dict[str, int] = {}
    for absence in absences:
        counted[absence.kind.value] = counted.get(absence.kind.value, 0) + absence.span.minutes
    return counted


def evidence_of(absences: Iterable[Absence]) -> list[str]:
    """The evidence of the absences, each line once."""
    return list(dict.fromkeys(line for absence in absences for line in absence.evidence))
