"""The heat map of coverage: a row for each dataset, a cell for each month.

Belongs here: which months are shown, the state of a month and its text. Does not belong here: sums over the days of a
month (`datasets.months`), choosing datasets (`choice`), colours and HTML (`templates`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from market_data_pipeline.api.datasets.months import Month
from market_data_pipeline.api.pages.choice import Row

MONTHS_A_PAGE = 60


class MonthState(StrEnum):
    """The state of a month. Each has a colour, and a mark or a number, on the page."""

    COMPLETE = "complete"
    EXPLAINED = "explained"
    PARTIAL = "partial"
    UNEXPLAINED = "unexplained"

    @property
    def meaning(self) -> str:
        """One line that explains the state, for the legend."""
        return _MEANINGS[self]


_MEANINGS = {
    MonthState.COMPLETE: "a kline for every minute",
    MonthState.EXPLAINED: "every kline that the exchange has",
    MonthState.PARTIAL: "percent of the minutes, the others were not loaded",
    MonthState.UNEXPLAINED: "minutes are unexplained, or requested days have no chunk",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A month of a dataset: its state, the mark in the cell, and all of it in words."""

    state: MonthState
    mark: str
    text: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The months that are shown, a line of cells for each row, and the last months of the pages before and after."""

    months: Sequence[str]
    lines: Sequence[tuple[Row, Sequence[Cell | None]]]
    earlier: str | None
    later: str | None

    @property
    def years(self) -> list[tuple[str, int]]:
        """Each year, and how many of its months are shown."""
        return [(year, len(list(months))) for year, months in groupby(month[:4] for month in self.months)]


def heat_map(rows: Sequence[Row], until: str | None) -> HeatMap:
    """The heat map of these datasets, up to the month `until` or the newest that any of them has."""
    stored = {month for row in rows if row.known.summary for month in row.known.summary.months}
    oldest, newest = min(stored, default=""), max(stored, default="")
    if not stored:
        return HeatMap((), [(row, ()) for row in rows], None, None)
    last = min(max(until or newest, oldest), newest)
    first = max(_moved(last, 1 - MONTHS_A_PAGE), oldest)
    months = [_named(number) for number in range(_number(first), _number(last) + 1)]
    return HeatMap(
        months=months,
        lines=[(row, _cells(row, months)) for row in rows],
        earlier=_moved(first, -1) if oldest < first else None,
        later=min(_moved(last, MONTHS_A_PAGE), newest) if last < newest else None,
    )


def cell(name: str, month: Month) -> Cell:
    """The month called `name` (YYYY-MM)."""
    # Rounded down, so that only a month that lacks nothing has 100 %.
    percent = math.floor(1000 * month.proven / month.minutes) / 10 if month.minutes else 100.0
    if month.unexplained or month.missing:
        state, mark = MonthState.UNEXPLAINED, "!"
    elif month.proven < month.minutes:
        state, mark = MonthState.PARTIAL, f"{math.floor(percent)}"
    else:
        state, mark = (MonthState.EXPLAINED, "o") if month.absent else (MonthState.COMPLETE, "")
    absent = "".join(f", {minutes:,} min {kind.replace('_', ' ')}" for kind, minutes in month.absent.items())
    missing = f", {month.missing:,} min of days without a chunk" if month.missing else ""
    return Cell(state, mark, f"{name} {state}: {percent:g} % of {month.minutes:,} min{absent}{missing}")


def _cells(row: Row, months: Sequence[str]) -> list[Cell | None]:
    known: Mapping[str, Month] = row.known.summary.months if row.known.summary else {}
    return [cell(name, known[name]) if name in known else None for name in months]


def _moved(month: str, by: int) -> str:
    return _named(_number(month) + by)


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _named(number: int) -> str:
    return f"{number // 12:04d}-{number % 12 + 1:02d}"
