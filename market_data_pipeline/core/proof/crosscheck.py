"""Cross-check: stored klines against those that another source has of the same minutes, value by value.

Belongs here: which minutes are compared, which days make a sample, and what a difference is. Does not belong here:
requests to a source (`sources`), whether chunks match the manifest (`verify`), repair (`repair`).

The archive is revised, and its files may be wrong though their checksum is right (binance/binance-public-data#475,
#367, #395). Which side is right cannot be decided here, so nothing is changed.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import (
    MarketDataError,
    PairNotListed,
    PairNotServed,
    SourceUnavailable,
    StoreError,
)
from market_data_pipeline.core.klines.coverage import Kind, Span, intersect, merge, subtract
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, iso
from market_data_pipeline.core.klines.table import FIELDS, common_minutes, cut, join, open_times
from market_data_pipeline.core.loading.fetch import MOST_RECHECKS
from market_data_pipeline.core.sources.pages_by_day import DayKlines, PagesByDay
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore

KLINE = "kline"
MOST_DIFFERENCES = 1000
# These minutes were not requested, or the pair was not traded: what a source has of them, such as the flat klines of
# settled futures, is no data.
_NOT_COMPARED = {Kind.NOT_REQUESTED, Kind.OPEN, Kind.NOT_LISTED, Kind.DELISTED}


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not the same on both sides.

    Where one side has no kline of the minute, `field` is `kline`; the side that has it gives its open time, the other
    None. Values of other fields are never None.
    """

    day: str
    open_time: int
    field: str
    ours: float | int | None
    theirs: float | int | None

    def text(self, against: str) -> str:
        """One line for people: `2024-03-05T12:31Z close: ours 4.123, rest 4.124`."""
        ours, theirs = (self._text_of(value) for value in (self.ours, self.theirs))
        return f"{iso(self.open_time)} {self.field}: ours {ours}, {against} {theirs}"

    def _text_of(self, value: float | int | None) -> str:
        if self.field == KLINE:
            return "absent" if value is None else "present"
        return repr(value)


@dataclass(slots=True)
class CrossCheck:
    """What was compared and what was not the same.

    Attributes:
        dataset: whose klines were compared.
        against: the source that they were compared with.
        of_days: days of the dataset that have klines, and so could be compared.
        days: days that were compared.
        rows: stored klines that were compared.
        differences: the first of the values that differ, by time; at most `MOST_DIFFERENCES`.
        differing_days: how many minutes differ, of every day where any does.
        not_compared: days that could not be compared, each with the reason.
        lacks_pair: True if the source knows no such pair, as REST after an end, so that no day can ever be compared.
    """

    dataset: Dataset
    against: str
    of_days: int
    days: int = 0
    rows: int = 0
    differences: list[Difference] = field(default_factory=list)
    differing_days: dict[str, int] = field(default_factory=dict)
    not_compared: list[tuple[str, str]] = field(default_factory=list)
    lacks_pair: bool = False

    @property
    def ok(self) -> bool:
        """True if nothing differs in what was compared, and something was if there was anything to compare."""
        return not self.differing_days and (self.lacks_pair or not self.nothing_compared)

    @property
    def nothing_compared(self) -> bool:
        """True if not one of the days could be compared, which says nothing about the klines."""
        return self.days == 0 and bool(self.not_compared)

    def note(self, day: Day, rows: int, found: list[Difference]) -> None:
        """Count one day of so many stored klines."""
        self.days += 1
        self.rows += rows
        self.differences += found[: MOST_DIFFERENCES - len(self.differences)]
        if found:
            self.differing_days[day.key] = len({difference.open_time for difference in found})


def crosscheck(
    store: DatasetStore,
    source: KlineSource,
    *,
    against: str,
    days: Iterable[Day],
    on_day: Callable[[str], None] | None = None,
) -> CrossCheck:
    """Compare the stored minutes of the days, klines and outages, with what the source has; one day is held at a time.

    Args:
        store: the dataset's files; nothing in them is changed.
        source: what to compare with. It must be the one called `against` alone, not one that fills in from another.
        against: `rest` or `archive`.
        days: the days, in any order.
        on_day: called with the key of each day, in order, once it is compared.
    """
    result = CrossCheck(store.dataset, against, of_days=len(sample(store, None, None)))
    spans = {day: _compared_minutes(store, day) for day in sorted(set(days), key=lambda day: day.start_ms)}
    pages, is_away = PagesByDay(source.pages(merge(span for of_day in spans.values() for span in of_day))), False
    try:
        for day, of_day in spans.items():
            try:
                result.note(day, *_compared(store, source, against, day, of_day, pages))
            except MarketDataError as error:
                result.not_compared.append((day.key, str(error)))
                is_away |= isinstance(error, SourceUnavailable)
            if on_day:
                on_day(day.key)
    finally:
        pages.close()
    result.lacks_pair = result.nothing_compared and not is_away and _lacks_pair(source)
    return result


def _lacks_pair(source: KlineSource) -> bool:
    try:
        source.life()
    except (PairNotListed, PairNotServed):
        return True
    except MarketDataError:
        pass
    return False


def sample(store: DatasetStore, window: Span | None, most: int | None, seed: str = "") -> list[Day]:
    """Days with klines that the window touches, in order: all, or the newest and `most - 1` others drawn by `seed`.

    Equal stores give equal samples. With another seed each night, such as its date, all days get their turn.
    """
    stored = [store.dataset.day(key) for key, entry in sorted(store.entries.items()) if entry.rows]
    days = [day for day in stored if window is None or intersect([window], [Span(day.start_ms, day.end_ms)])]
    if most is None or most >= len(days):
        return days
    if most < 1:
        return []
    *older, newest = days
    return [*sorted(random.Random(seed).sample(older, most - 1), key=lambda day: day.start_ms), newest]


def _compared_minutes(store: DatasetStore, day: Day) -> tuple[Span, ...]:
    """The minutes of the day that have a stored kline, or an absence that the other source may contradict."""
    entry = store.entries.get(day.key)
    if entry is None:
        return ()
    left_out = [absence.span for absence in entry.absences if absence.kind in _NOT_COMPARED]
    return tuple(subtract([Span(day.start_ms, day.end_ms)], left_out))


def _compared(
    store: DatasetStore, source: KlineSource, against: str, day: Day, spans: tuple[Span, ...], pages: PagesByDay
) -> tuple[int, list[Difference]]:
    """How many stored klines were compared, and all differences of the day."""
    if not spans:
        raise StoreError("nothing is stored of it")
    # Before the chunk is read: if that raised first, the pages of the day would stay in memory.
    read = pages.of(spans)
    chunk = _stored(store, day)
    ours, theirs = pa.concat_tables([cut(chunk.klines, span) for span in spans]).combine_chunks(), read.klines
    if read.flaws or read.bad_rows:
        ours, theirs = (_without(klines, _worse(chunk, read)) for klines in (ours, theirs))
    if against == "rest":
        theirs = _rechecked(source, ours, theirs)
    return ours.num_rows, _differences(day, ours, theirs)


def _worse(chunk: Chunk, theirs: DayKlines) -> set[int]:
    """The minutes of which they have a row that breaks a rule, and we a kline that breaks none.

    Such a row was not stored because the other source has a better one, so it is no difference to be repaired.
    """
    odd = {flaw.open_time for flaw in theirs.flaws} | {row.minute for row in theirs.bad_rows}
    good = set(open_times(chunk.klines).tolist()) - {flaw.open_time for flaw in chunk.footer.flaws}
    return odd & good


def _without(klines: pa.Table, minutes: set[int]) -> pa.Table:
    return klines.filter(~np.isin(open_times(klines), list(minutes)))


def _stored(store: DatasetStore, day: Day) -> Chunk:
    """The day's chunk, which matches its entry."""
    chunk = store.trusted(day)
    if chunk is None:
        chunk = store.read(day)
    if chunk.entry != store.entries.get(day.key):
        raise StoreError(f"{store.chunk_path(day).name} is not what the manifest lists")
    return chunk


def _rechecked(source: KlineSource, ours: pa.Table, theirs: pa.Table) -> pa.Table:
    """Their klines, and those that REST left out of its first response though it has them. Files leave none out."""
    for _ in range(MOST_RECHECKS):
        lacking = np.setdiff1d(open_times(ours), open_times(theirs), assume_unique=True).tolist()
        again = [source.recheck(gap).klines for gap in merge(Span(time, time + MINUTE_MS) for time in lacking)]
        if not any(klines.num_rows for klines in again):
            break
        theirs = reduce(join, again, theirs)
    return theirs


def _differences(day: Day, ours: pa.Table, theirs: pa.Table) -> list[Difference]:
    """Every value that differs in any bit, by time.

    `ignore` is compared too: it has been 0 in all klines so far, and another value would be a sign of shifted columns.
    """
    our_times, their_times = open_times(ours), open_times(theirs)
    times, pairs, unequal = common_minutes(ours, theirs)
    found = [
        Difference(day.key, int(times[row]), FIELDS[at], pairs[at][0][row].item(), pairs[at][1][row].item())
        for row, at in np.argwhere(unequal)
    ]
    for time in np.setdiff1d(our_times, their_times, assume_unique=True).tolist():
        found.append(Difference(day.key, time, KLINE, time, None))
    for time in np.setdiff1d(their_times, our_times, assume_unique=True).tolist():
        found.append(Difference(day.key, time, KLINE, None, time))
    return sorted(found, key=lambda difference: difference.open_time)
