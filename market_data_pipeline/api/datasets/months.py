"""Coverage by month: how many minutes of a dataset have a kline, or a reason that asking again would not change.

Belongs here: sums over the days of a month. Does not belong here: kinds of absence (`klines.coverage`), colours and
texts of months (`pages.heatmap`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from market_data_pipeline.core.klines.coverage import Kind, Span, minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import day_at, day_of
from market_data_pipeline.core.store.manifest import Entry

_NOTHING: Mapping[str, int] = {}


@dataclass(slots=True)
class Month:
    """The days of a month that have a chunk or were requested, up to yesterday.

    `minutes` are all of theirs that are over, `klines` those with a kline, `absent` the others by kind. `missing` are
    the minutes of requested days without a chunk.
    """

    minutes: int = 0
    klines: int = 0
    missing: int = 0
    absent: Mapping[str, int] = field(default_factory=lambda: _NOTHING)

    @property
    def unexplained(self) -> int:
        """The absent minutes that no source has explained."""
        return self.absent.get(Kind.UNEXPLAINED, 0)

    @property
    def proven(self) -> int:
        """The minutes that have a kline, or a proven reason why they have none."""
        return self.klines + sum(minutes for kind, minutes in self.absent.items() if Kind(kind).is_final)

    def add(self, entry: Entry) -> None:
        """Count the day of a chunk."""
        self.klines += entry.rows
        self.minutes += entry.expected_rows
        if entry.absences:
            absent = Counter(self.absent) + Counter(minutes_by_kind(entry.absences))
            self.minutes -= entry.minutes_absent(Kind.OPEN)
            del absent[Kind.OPEN.value]
            self.absent = dict(absent) or _NOTHING


def missing_days(dataset: Dataset, entries: Iterable[Entry], today: date) -> list[date]:
    """The days before `today` that were requested and have no chunk, in order."""
    stored = {entry.day for entry in entries}
    days = {day for span in dataset.requested for day in _dates(dataset, span, today)}
    return sorted(day for day in days if day.isoformat() not in stored)


def is_any_requested(dataset: Dataset, since: date, before: date) -> bool:
    """True if a day from `since` on and before `before` was requested."""
    ends = (_first_and_last(dataset, span) for span in dataset.requested)
    return any(since <= last and first < before for first, last in ends)


def months_of(dataset: Dataset, entries: Iterable[Entry], missing: Iterable[date]) -> dict[str, Month]:
    """The months that have a chunk or a missing day, by name: `2024-03`."""
    months: dict[str, Month] = {}
    for entry in entries:
        months.setdefault(entry.day[:7], Month()).add(entry)
    for day in missing:
        month = months.setdefault(f"{day:%Y-%m}", Month())
        minutes = day_of(dataset.zone, day).minutes
        month.minutes += minutes
        month.missing += minutes
    return months


def _dates(dataset: Dataset, span: Span, today: date) -> Iterable[date]:
    first, last = _first_and_last(dataset, span)
    return (first + timedelta(number) for number in range((min(last + timedelta(1), today) - first).days))


def _first_and_last(dataset: Dataset, span: Span) -> tuple[date, date]:
    return day_at(dataset.zone, span.start_ms).date, day_at(dataset.zone, span.end_ms - 1).date
