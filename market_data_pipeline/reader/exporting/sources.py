"""What an export reads: the klines of a pair within a window, a few weeks at a time.

Belongs here: dividing a window, whole bins of longer klines, what its dates mean, reading its parts, counting what goes
by. Does not belong here: reading itself (`reader.klines`), what becomes of the klines (the formats).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import FOREVER_MS, Kind, Span, intersect
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.reader.grid import require_possible
from market_data_pipeline.reader.klines import DatasetKlines, Klines
from market_data_pipeline.reader.reasons import NOT_LOADED, reasons_of
from market_data_pipeline.reader.resampling import Interval, Ints, bin_edges
from market_data_pipeline.reader.windows import Instant, instant_ms

DAY_MS = 1440 * MINUTE_MS
# 4 MB of all fields.
_MOST_DAYS = 28
_MOST_NAMES = 3
_UNKNOWN = {Kind.OPEN.value, Kind.NOT_REQUESTED.value, Kind.UNEXPLAINED.value, NOT_LOADED}
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
    """The klines of a pair within a window, of this interval, whose bins follow the wall clock of `zone`.

    An export has a source of each of its pairs until it ends, so none keeps in memory what was read.
    """

    klines: DatasetKlines
    asked: Span
    window: Span
    """What is stored of the window that was asked for; of longer klines from the first to the last known bin."""
    interval: Interval
    zone: Zone
    unknown: tuple[Span, ...] = ()
    """Of longer klines the minutes that are yet to come or to be loaded, and all after the window, by time."""

    @classmethod
    def of(
        cls,
        klines: DatasetKlines,
        asked: Span,
        stored: Span,
        interval: Interval,
        zone: Zone,
        *,
        is_whole: tuple[bool, bool] = (False, False),
    ) -> "Source":
        """The klines of the window; of longer ones those whose bin it holds whole, and whose minutes are all known.

        `asked` may be centuries, of which only what is `stored` is looked through. `is_whole` tells of both ends of
        `asked` whether nobody asked for one, so that it cuts no bin.

        Raises:
            StoreError: a chunk that the manifest does not list yet is damaged.
        """
        kept, none, forever = klines.unread(), Span(asked.start_ms, asked.start_ms), Span(asked.start_ms, FOREVER_MS)
        window = next(iter(intersect([asked], [stored])), none)
        if interval.minutes == 1:
            return cls(kept, asked, window, interval, zone)
        if not window.minutes:
            return cls(kept, asked, none, interval, zone, (forever,))
        edges = bin_edges(interval, zone, window)
        edges = edges[(edges >= asked.start_ms) | is_whole[0]]
        edges = edges[(edges <= asked.end_ms) | is_whole[1]]
        if len(edges) < 2:
            return cls(kept, asked, none, interval, zone, (forever,))
        window = Span(int(edges[0]), int(edges[-1]))
        reasons = reasons_of(klines, window)  # before the klines are read, which live mode adds to
        unknown = tuple(Span(one.start_ms, one.end_ms) for one in reasons if one.name in _UNKNOWN)
        # What is stored after it from now on may be a part of a bin.
        source = cls(kept, asked, window, interval, zone, (*unknown, Span(window.end_ms, FOREVER_MS)))
        (known,) = np.nonzero(source.are_known(edges[:-1], edges[1:]))
        if not len(known):
            return replace(source, window=none)
        return replace(source, window=Span(int(edges[known[0]]), int(edges[known[-1] + 1])))

    @property
    def bins(self) -> Span:
        """All whole bins of the window that was asked for, which has one.

        Raises:
            UsageError: no dataset can have klines as early or as late.
        """
        require_possible(self.asked)
        start_ms, end_ms = self.asked.start_ms, self.asked.end_ms
        first = bin_edges(self.interval, self.zone, Span(start_ms, start_ms + MINUTE_MS))
        last = bin_edges(self.interval, self.zone, Span(end_ms - MINUTE_MS, end_ms))
        return Span(int(first[first >= start_ms][0]), int(last[last <= end_ms][-1]))

    @property
    def dataset(self) -> Dataset:
        """Whose klines these are."""
        return self.klines.dataset

    def tables(self, fields: Sequence[str], within: Span | None = None) -> Iterator[pa.Table]:
        """The klines in order, part after part; parts without klines are left out.

        Of longer klines those whose minutes are all known, see `are_known`. `fields` has `open_time`.

        Raises:
            StoreError: a chunk is missing or damaged.
        """
        read = self.klines.unread()
        klines: Klines = read if self.interval.minutes == 1 else read.resample(self.interval.name, self.zone.name)
        for part in parts_of_bins(within or self.window, self.interval, self.zone):
            table = klines.of_span(part, fields)
            if self.unknown:
                times = open_times(table)
                table = table.filter(pa.array(self.are_known(times, bin_ends(self.interval, self.zone, times))))
            if table.num_rows:
                yield table

    def are_known(self, starts: Ints, ends: Ints) -> Bools:
        """Whether these bins have no minute that is yet to come or to be loaded. Minutes have none."""
        begins = np.array([*(span.start_ms for span in self.unknown), 1 << 62], np.int64)
        following = begins[np.searchsorted([span.end_ms for span in self.unknown], starts, side="right")]
        known: Bools = following >= ends
        return known


def bin_ends(interval: Interval, zone: Zone, starts: Ints) -> Ints:
    """The ends of the bins that begin then, in order."""
    if not len(starts):
        return starts
    edges = bin_edges(interval, zone, Span(int(starts[0]), int(starts[-1]) + MINUTE_MS))
    ends: Ints = edges[np.searchsorted(edges, starts, side="right")]
    return ends


def notes_of_zones(sources: Sequence[Source], start: Instant, end: Instant) -> tuple[str, ...]:
    """What a user should know whose start, end or days are other instants for one pair than for another."""
    pairs, windows = dict[str, list[str]](), set[tuple[int | None, ...]]()
    for source in sources:
        zone = source.klines.zone
        pairs.setdefault(zone.name, []).append(source.dataset.pair)
        windows.add((instant_ms(start, zone), instant_ms(end, zone)))
    if len(windows) < 2 and not _have_other_bins(sources):
        return ()
    what = "start and end" if len(windows) > 1 else f"klines of {sources[0].interval.name}"
    zones = ", ".join(f"{zone} ({_some(named)})" for zone, named in sorted(pairs.items()))
    return (f"{what} are those of each pair's days, which are of different zones: {zones}; give tz (--align-tz)",)


def _have_other_bins(sources: Sequence[Source]) -> bool:
    """True if the bins of some sources begin at other instants than those of others."""
    windows = [source.window for source in sources if source.window.minutes]
    zones = {source.zone.name: source.zone for source in sources}
    if not windows or len(zones) < 2 or sources[0].interval.minutes == 1:
        return False
    span = Span(min(window.start_ms for window in windows), max(window.end_ms for window in windows))
    first, *others = (bin_edges(sources[0].interval, zone, span) for zone in zones.values())
    return any(not np.array_equal(first, other) for other in others)


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
