"""The reason for each absent minute of a day.

Belongs here: which kinds apply to a day, and which one counts where several do. Does not belong here: how the source
was asked about absent minutes (`fetch`).
"""

from collections.abc import Sequence

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import (
    FOREVER_MS,
    PROVEN,
    Absence,
    Kind,
    Span,
    explain,
    gaps,
    intersect,
    subtract,
)
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.store.manifest import Entry


def explained(
    dataset: Dataset, klines: pa.Table, fetched: FetchedDay, stored: Entry | None, life: Life, settled_ms: int
) -> list[Absence]:
    """The absences of the day that will have these klines, sorted; together they name every minute without a kline.

    Args:
        dataset: whose day it is.
        klines: all klines of the day.
        fetched: what was fetched of it now.
        stored: the entry of its chunk on disk, which has the kinds of minutes that were not requested now.
        life: when the exchange has klines of the pair.
        settled_ms: minutes from this instant on (ms UTC) may still get klines.
    """
    day = fetched.task.day
    whole = Span(day.start_ms, day.end_ms)
    absent = gaps(open_times(klines), whole)
    if not absent:
        return []
    last_ms = int(open_times(klines)[-1]) if klines.num_rows else day.start_ms
    known = stored.absences if stored else ()
    checked = [
        *(_after_last(absence, last_ms) for absence in fetched.absences),
        *_left(known, fetched.task.spans),
        *_standing(known, fetched.unrefuted),
    ]
    # A pair that is paused today may be traded again before the day is over.
    open_ms = min(settled_ms, life.paused_ms or settled_ms) if day.end_ms > settled_ms else settled_ms
    # The first that names a minute counts.
    reasons = [
        Absence(Kind.NOT_LISTED, Span(0, life.first_open_ms)),
        *([Absence(Kind.NOT_LISTED, life.between)] if life.between else []),
        *([] if life.ended_ms is None else [Absence(Kind.DELISTED, Span(life.ended_ms, FOREVER_MS))]),
        *(absence for absence in checked if absence.kind in PROVEN),
        Absence(Kind.OPEN, Span(open_ms, FOREVER_MS)),
        *(Absence(Kind.NOT_REQUESTED, span) for span in subtract([whole], dataset.requested)),
        *checked,
    ]
    return explain(absent, reasons)


def _after_last(absence: Absence, last_ms: int) -> Absence:
    """The absence, which is `open` only after the day's last kline: before one, nothing is merely late."""
    if absence.kind is Kind.OPEN and absence.span.start_ms < last_ms:
        return Absence(Kind.UNEXPLAINED, absence.span, absence.evidence)
    return absence


def _left(known: Sequence[Absence], requested_now: Sequence[Span]) -> list[Absence]:
    """What an earlier load found out about minutes that were not requested now."""
    return [
        Absence(absence.kind, span, absence.evidence)
        for absence in known
        if absence.kind in {*PROVEN, Kind.MALFORMED, Kind.UNEXPLAINED}
        for span in subtract([absence.span], requested_now)
    ]


def _standing(known: Sequence[Absence], unrefuted: Sequence[Absence]) -> list[Absence]:
    """What an earlier load has proven of minutes that were requested now, and nothing refutes."""
    return [
        Absence(absence.kind, span, absence.evidence)
        for absence in known
        for span in intersect([absence.span], [one.span for one in unrefuted if one.kind is absence.kind])
    ]
