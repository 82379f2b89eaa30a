"""What the source has of a day's minutes, after requesting absent ones again.

Belongs here: how often absent minutes are requested again, and what is known of them then. Does not belong here:
single requests (`sources`), the reason that each absent minute gets (`absences`).
"""

from dataclasses import dataclass

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import (
    PROVEN,
    Absence,
    Kind,
    Span,
    gaps,
    intersect,
    subtract,
    total_minutes,
)
from market_data_pipeline.core.klines.flaws import Flaw, malformed
from market_data_pipeline.core.klines.table import join, open_times
from market_data_pipeline.core.loading.plan import Task
from market_data_pipeline.core.sources.pages_by_day import DayKlines
from market_data_pipeline.core.sources.protocol import PageSource

MOST_RECHECKS = 5


@dataclass(frozen=True, slots=True)
class FetchedDay:
    """What was fetched of a day.

    Attributes:
        task: the day and the requested minutes.
        klines: their klines, sorted.
        sources: the names of the klines' sources.
        absences: minutes that were requested twice and have no kline: `malformed` if they have a row that cannot be
            stored, else what is proven of them (`Recheck.kind`).
        checked: True if the klines passed the rules of `klines.checks` already.
        flaws: those of the klines, with the sources that have them.
        unrefuted: minutes of which nothing is proven now, with each kind that stays if it was proven before.
    """

    task: Task
    klines: pa.Table
    sources: frozenset[str]
    absences: tuple[Absence, ...] = ()
    checked: bool = False
    flaws: tuple[Flaw, ...] = ()
    unrefuted: tuple[Absence, ...] = ()

    @classmethod
    def of_pages(cls, task: Task, read: DayKlines) -> "FetchedDay":
        """A day as its pages have it."""
        bad = malformed(read.bad_rows, _absent(task, read.klines)) if read.bad_rows else ()
        return cls(task, read.klines, read.sources, tuple(bad), read.checked, read.flaws)

    def unchecked(self, settled_ms: int) -> list[Span]:
        """The absent minutes before this instant (ms UTC) that were not requested a second time."""
        if self.klines.num_rows == total_minutes(self.task.spans):
            return []
        settled = intersect(_absent(self.task, self.klines), [Span(0, settled_ms)])
        return subtract(settled, [absence.span for absence in self.absences])


def recheck(source: PageSource, fetched: FetchedDay, settled_ms: int) -> FetchedDay:
    """The same day after requesting its absent minutes again.

    Args:
        source: where klines come from.
        fetched: the day as the first responses have it.
        settled_ms: minutes from this instant on (ms UTC) may still get klines, and are not requested again.

    Raises:
        BadAnswer, SourceUnavailable: see `PageSource.recheck`.
    """
    for _ in range(MOST_RECHECKS):
        unchecked = fetched.unchecked(settled_ms)
        if not unchecked:
            break
        fetched = _after_recheck(source, fetched, unchecked)
    return fetched


def _after_recheck(source: PageSource, fetched: FetchedDay, unchecked: list[Span]) -> FetchedDay:
    klines, sources = fetched.klines, set(fetched.sources)
    absences, flaws, unrefuted = list(fetched.absences), list(fetched.flaws), list(fetched.unrefuted)
    for gap in unchecked:
        again = source.recheck(gap)
        bad = malformed(again.bad_rows, gaps(open_times(again.klines), gap)) if again.bad_rows else []
        absences += bad
        if again.klines.num_rows == 0 and not bad:
            absences.append(Absence(again.kind, gap, again.evidence))
            unrefuted += [Absence(kind, gap) for kind in PROVEN - again.refuted if again.kind is Kind.UNEXPLAINED]
        klines = join(klines, again.klines)
        flaws += again.flaws
        sources.update(again.sources)
    checked = fetched.checked and klines.num_rows == fetched.klines.num_rows
    found = tuple(absences), checked, tuple(flaws), tuple(unrefuted)
    return FetchedDay(fetched.task, klines, frozenset(sources), *found)


def _absent(task: Task, klines: pa.Table) -> list[Span]:
    return [gap for span in task.spans for gap in gaps(open_times(klines), span)]
