"""What an export reads: the klines of a pair within a window, a few weeks at a time.

Belongs here: dividing a window, whole bins of longer klines, what its dates mean, reading its parts, counting what goes
by. Does not belong here: reading itself (`reader.klines`), what becomes of the klines (the formats).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.reader.klines import DatasetKlines, Klines
from market_data_pipeline.reader.resampling import Interval, Ints, bin_edges
from market_data_pipeline.reader.windows import Instant, instant_ms

DAY_MS = 1440 * MINUTE_MS
# 4 MB of all fields.
_MOST_DAYS = 28
_MOST_NAMES = 3
# Minutes. Zones differ by quarters of an hour.
_SAME_IN_ALL_ZONES = 15
Bools = npt.NDArray[np.bool_]


def parts_of(window: Span, most_days: int = _MOST_DAYS) -> Iterator[Span]:
    """The window in parts of so many UTC days, cut at midnights of UTC."""
    start_ms = window.start_ms
    while start_ms < window.end_ms:
        end_ms = min(window.end_ms, (start_ms // DAY_MS + most_days) * DAY_MS)
        yield Span(start_ms, end_ms)
        start_ms = end_ms


def parts_of_bins(window: Span, interval: Interval, zone: Zone, most_days: int = _MOST_DAYS) -> Iterator[Span]:
    """As `parts_of`, cut where bins begin: a part is at most one bin longer. The window is of whole bins."""
    if interval.minutes == 1:
        yield from parts_of(window, most_days)
        return
    edges, at = bin_edges(interval, zone, window) if window.minutes else (), 0
    while at < len(edges) - 1:
        upto = min(int(np.searchsorted(edges, edges[at] + most_days * DAY_MS)), len(edges) - 1)
        yield Span(int(edges[at]), int(edges[upto]))
        at = upto


@dataclass(frozen=True, slots=True)
class Source:
    """The klines of a pair within a window, of this interval, whose bins follow the wall clock of `zone`."""

    klines: DatasetKlines
    window: Span
    interval: Interval
    zone: Zone

    @classmethod
    def of(cls, klines: DatasetKlines, window: Span, interval: Interval, zone: Zone) -> "Source":
        """The klines of the window; of longer ones those whose bin the window holds whole."""
        if interval.minutes > 1:
            window = _whole_bins(window, interval, zone)
        return cls(klines, window, interval, zone)

    @property
    def dataset(self) -> Dataset:
        """Whose klines these are."""
        return self.klines.dataset

    def tables(self, fields: Sequence[str], within: Span | None = None) -> Iterator[pa.Table]:
        """The klines in order, part after part; parts without klines are left out.

        Of longer klines those whose minutes are all known, see `known`. `fields` has `open_time`.

        Raises:
            StoreError: a chunk is missing or damaged.
        """
        klines: Klines = self.klines
        if self.interval.minutes > 1:
            klines = self.klines.resample(self.interval.name, self.zone.name)
        for part in parts_of_bins(within or self.window, self.interval, self.zone):
            known = self.known(part)  # before the klines, which live mode adds to
            table = klines.to_arrow(part.start_ms, part.end_ms, fields)
            if known is not None:
                table = table.filter(pa.array(known(open_times(table))))
            if table.num_rows:
                yield table

    def known(self, part: Span) -> Callable[[Ints], Bools] | None:
        """Tells of bins in a part, by their open times, whether no minute is yet to come or to be loaded.

        None if it is so for all of them.

        Raises:
            StoreError: a chunk that the manifest does not list yet is damaged.
        """
        if self.interval.minutes == 1:
            return None
        absences = self.klines.absences(part.start_ms, part.end_ms)
        unknown = [absence.span for absence in absences if not absence.kind.is_final]
        if not unknown:
            return None
        edges = bin_edges(self.interval, self.zone, part)
        # The last one begins after all bins.
        begins = np.array([*(span.start_ms for span in unknown), int(edges[-1])], np.int64)
        ends = np.array([span.end_ms for span in unknown], np.int64)

        def are_known(times: Ints) -> Bools:
            following = begins[np.searchsorted(ends, times, side="right")]
            known: Bools = following >= edges[np.searchsorted(edges, times, side="right")]
            return known

        return are_known


def _whole_bins(window: Span, interval: Interval, zone: Zone) -> Span:
    edges = bin_edges(interval, zone, window) if window.minutes else np.empty(0, np.int64)
    whole = edges[(edges >= window.start_ms) & (edges <= window.end_ms)]
    return Span(int(whole[0]), int(whole[-1])) if len(whole) else Span(window.start_ms, window.start_ms)


def notes_of_zones(sources: Iterable[Source], start: Instant, end: Instant) -> tuple[str, ...]:
    """What a user should know whose start, end or days are other instants for one pair than for another."""
    pairs, windows = dict[str, list[str]](), set[tuple[int | None, ...]]()
    intervals = set[tuple[str, str]]()
    for source in sources:
        zone = source.klines.zone
        pairs.setdefault(zone.name, []).append(source.dataset.pair)
        windows.add((instant_ms(start, zone), instant_ms(end, zone)))
        if source.interval.minutes > _SAME_IN_ALL_ZONES:
            intervals.add((source.interval.name, source.zone.name))
    if len(windows) < 2 and len(intervals) < 2:
        return ()
    what = "start and end" if len(windows) > 1 else f"klines of {min(intervals)[0]}"
    zones = ", ".join(f"{zone} ({_some(named)})" for zone, named in sorted(pairs.items()))
    return (f"{what} are those of each pair's days, which are of different zones: {zones}; give tz (--align-tz)",)


def _some(pairs: Sequence[str]) -> str:
    more = f" and {len(pairs) - _MOST_NAMES:,} more" if len(pairs) > _MOST_NAMES else ""
    return f"{', '.join(pairs[:_MOST_NAMES])}{more}"


@dataclass(slots=True)
class Tally:
    """How many rows went by, and the first and the last of their open times."""

    rows: int = 0
    first_open_ms: int | None = None
    last_open_ms: int | None = None

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables, which have `open_time` and rows, counted as they are taken."""
        for table in tables:
            times = open_times(table)
            self.rows += table.num_rows
            self.first_open_ms = _least(self.first_open_ms, int(times.min()))
            self.last_open_ms = max(self.last_open_ms or 0, int(times.max()))
            yield table


def _least(one_ms: int | None, other_ms: int) -> int:
    return other_ms if one_ms is None else min(one_ms, other_ms)
