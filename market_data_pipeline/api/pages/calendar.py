"""The coverage calendar: the state of each local day of a dataset from its start to today.

Belongs here: the states of a day and their texts, months and years of days. Does not belong here: colours and HTML
(`templates`), reading files (`catalog`).
"""

import calendar
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import groupby

from market_data_pipeline.core.klines.coverage import minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import day_at
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.text import count_text


class DayState(StrEnum):
    """The state of a day. Each has a colour and a mark of its own on the page."""

    COMPLETE = "complete"
    OUTAGE = "outage"
    PARTIAL = "partial"
    MISSING = "missing"
    DAMAGED = "damaged"
    TODAY = "today"
    NOT_REQUESTED = "not requested"

    @property
    def meaning(self) -> str:
        """One line that explains the state, for the legend."""
        return _MEANINGS[self]


_MEANINGS = {
    DayState.COMPLETE: "a kline for every minute",
    DayState.OUTAGE: "the exchange has no klines of some minutes",
    DayState.PARTIAL: "some minutes were not loaded, or are unexplained",
    DayState.MISSING: "requested, but there is no chunk",
    DayState.DAMAGED: "the file is gone, or not what was written",
    DayState.TODAY: "not over yet",
    DayState.NOT_REQUESTED: "no backfill requested it",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A local day; `text` has the date, the state and the numbers in words."""

    day: str
    state: DayState
    text: str


@dataclass(frozen=True, slots=True)
class Month:
    """A month: a cell for each day from the 1st on, None for days before the dataset's start and after today."""

    name: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class Year:
    """A year, and the number of its days in each state that occurs in it."""

    year: int
    months: tuple[Month, ...]
    counts: Mapping[DayState, int]


def coverage(dataset: Dataset, entries: Iterable[Entry], damaged: Mapping[str, str], now_ms: int) -> list[Year]:
    """The years from the dataset's start to the day of `now_ms` (ms UTC), the newest first.

    A chunk before the start or after today extends the range. Years in which no day was requested and no day has a
    chunk are left out. `damaged` has the reason for each damaged day.
    """
    today = day_at(dataset.zone, now_ms).date
    by_day = {entry.day: entry for entry in entries}
    listed = [date.fromisoformat(day) for day in (min(by_day), max(by_day))] if by_day else []
    first, last = min([dataset.start, *listed]), max([today, *listed])
    requested = _requested_dates(dataset, today)
    days = [first + timedelta(number) for number in range((last - first).days + 1)]
    cells = [_cell(on, by_day.get(on.isoformat()), damaged, today, on in requested) for on in days]
    years = (_year(year, list(of_year)) for year, of_year in groupby(cells, key=lambda cell: int(cell.day[:4])))
    return [year for year in years if year.counts.keys() - {DayState.NOT_REQUESTED}][::-1]


def counted(years: Iterable[Year]) -> dict[DayState, int]:
    """The number of days in each state, 0 for a state that no day is in."""
    together = sum((Counter(year.counts) for year in years), Counter[DayState]())
    return {state: together[state] for state in DayState}


def _requested_dates(dataset: Dataset, today: date) -> frozenset[date]:
    """The days up to today of which at least a minute was requested."""
    requested = set[date]()
    for span in dataset.requested:
        first, last = day_at(dataset.zone, span.start_ms).date, day_at(dataset.zone, span.end_ms - 1).date
        requested.update(first + timedelta(number) for number in range((min(last, today) - first).days + 1))
    return frozenset(requested)


def _cell(on: date, entry: Entry | None, damaged: Mapping[str, str], today: date, requested: bool) -> Cell:
    day = on.isoformat()
    if entry is None:
        state = DayState.NOT_REQUESTED if not requested else DayState.TODAY if on == today else DayState.MISSING
        return Cell(day, state, f"{day} {state}: {state.meaning}")
    state = DayState.DAMAGED if day in damaged else _state(entry, on == today)
    absent = "".join(f", {minutes:,} min {kind}" for kind, minutes in minutes_by_kind(entry.absences).items())
    wrong = f" ({damaged[day]})" if day in damaged else ""
    klines = f"{entry.rows:,} of {count_text(entry.expected_rows, 'kline')}"
    flaws = f", {count_text(len(entry.flaws), 'flaw')}" if entry.flaws else ""
    return Cell(day, state, f"{day} {state}{wrong}: {klines}{absent}{flaws}")


def _state(entry: Entry, is_today: bool) -> DayState:
    if is_today and not entry.is_over:
        return DayState.TODAY
    if not entry.absences:
        return DayState.COMPLETE
    return DayState.OUTAGE if entry.complete else DayState.PARTIAL


def _year(year: int, cells: list[Cell]) -> Year:
    by_day = {cell.day: cell for cell in cells}
    months = []
    for number in range(int(cells[0].day[5:7]), int(cells[-1].day[5:7]) + 1):
        length = calendar.monthrange(year, number)[1]
        days = (by_day.get(f"{year:04d}-{number:02d}-{day:02d}") for day in range(1, length + 1))
        months.append(Month(calendar.month_abbr[number], tuple(days)))
    return Year(year, tuple(months), Counter(cell.state for cell in cells))
