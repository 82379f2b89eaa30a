"""The klines of many pairs side by side: one row of memory per pair, one place per time.

Belongs here: the times of a window, reading pairs in threads into their places, the reason of each empty place. Does
not belong here: reading one pair (`klines`), which reason a minute has (`reasons`), frames (`grid_formats`).

Memory is that of the result and, in each thread, of a block of one pair's klines.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import FIRST_MS, LAST_MS, MINUTE_MS, Zone, iso
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA, column, open_times
from market_data_pipeline.reader.klines import DatasetKlines, Klines
from market_data_pipeline.reader.reasons import REASONS, Reason, reasons_of
from market_data_pipeline.reader.resampling import RESAMPLED_SCHEMA, Interval, bin_edges
from market_data_pipeline.reader.stored import READERS

T = TypeVar("T")
Values = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
HAS_VALUE = -1
"""The code of a place that has a value."""

# So many values of one pair are read at once, 8 MB: a year of one column, two months of all of them.
_BLOCK_VALUES = 1 << 20
# Bins of a month may begin before their window, and Windows has no local time before 1970.
_EARLIEST_MS = FIRST_MS + 365 * 1440 * MINUTE_MS


def require_possible(window: Span) -> None:
    """Refuse a window whose times cannot all be those of klines.

    Raises:
        UsageError: no dataset can have klines as early or as late.
    """
    if window.start_ms < _EARLIEST_MS or window.end_ms > LAST_MS:
        span = f"{iso(window.start_ms)} to {iso(window.end_ms)}"
        raise UsageError(f"no pair has klines of all of {span}; give a window of 1971 to 2199")


@dataclass(frozen=True, slots=True)
class Axis:
    """The times of a window: the starts of its bins, then the end of the last one. A cut bin starts before `window`."""

    edges: Ints
    window: Span

    @classmethod
    def of(cls, interval: Interval, zone: Zone, window: Span) -> "Axis":
        """The axis of all bins that the window overlaps.

        Raises:
            UsageError: no dataset can have klines as early or as late.
        """
        if window.start_ms == window.end_ms:
            return cls(np.empty(1, np.int64), window)
        require_possible(window)
        return cls(bin_edges(interval, zone, window), window)

    @property
    def open_times(self) -> Ints:
        """The start of each bin, ms UTC."""
        return self.edges[:-1]

    def blocks(self, columns: int) -> list[Span]:
        """The window in parts of whole bins, each with so many minutes as can be read at once of so many columns."""
        blocks, at, bins, length_ms = [], 0, len(self.edges) - 1, _BLOCK_VALUES // columns * MINUTE_MS
        while at < bins:
            following = int(np.searchsorted(self.edges, self.edges[at] + length_ms, side="right")) - 1
            end = max(at + 1, min(following, bins))
            blocks.append(self._within(int(self.edges[at]), int(self.edges[end])))
            at = end
        return blocks

    def places(self, times: Ints) -> slice | Ints:
        """Where on the axis these open times are."""
        if not len(times):
            return slice(0, 0)
        first, last = (int(at) for at in np.searchsorted(self.edges, times[[0, -1]]))
        return slice(first, last + 1) if last - first + 1 == len(times) else np.searchsorted(self.edges, times)

    def codes(self, reasons: Sequence[Reason]) -> npt.NDArray[np.int8]:
        """For each bin, the place in `REASONS` of its first minute's reason; `HAS_VALUE` if it has a kline."""
        codes = np.full(len(self.open_times), HAS_VALUE, np.int8)
        if not reasons or not len(codes):
            return codes
        starts, ends = np.array([(reason.start_ms, reason.end_ms) for reason in reasons], np.int64).T
        low, high = np.maximum(self.edges[:-1], self.window.start_ms), np.minimum(self.edges[1:], self.window.end_ms)
        is_empty = _minutes_before(high, starts, ends) - _minutes_before(low, starts, ends) == (high - low) // MINUTE_MS
        kinds = np.array([REASONS.index(reason.name) for reason in reasons], np.int8)
        codes[is_empty] = kinds[np.searchsorted(starts, low[is_empty], side="right") - 1]
        return codes

    def _within(self, start_ms: int, end_ms: int) -> Span:
        return Span(max(start_ms, self.window.start_ms), min(end_ms, self.window.end_ms))


def _minutes_before(instants: Ints, starts: Ints, ends: Ints) -> Ints:
    """How many minutes of the spans, which are sorted and disjoint, lie before each instant."""
    lengths = (ends - starts) // MINUTE_MS
    before = np.concatenate(([0], np.cumsum(lengths)))
    at = np.searchsorted(starts, instants, side="right")
    # The span that an instant lies in, or after, counts up to the instant.
    too_many = np.maximum(ends[at - 1] - instants, 0) // MINUTE_MS
    return np.where(at > 0, before[at] - too_many, 0)


@dataclass(frozen=True, slots=True)
class Grid:
    """Values by column, each (pairs, times). Where `present` is False there is none: NaN in floats, 0 in integers."""

    open_times: Ints
    values: dict[str, Values]
    present: npt.NDArray[np.bool_]


def read_grid(pairs: Sequence[Klines], columns: Sequence[str], axis: Axis) -> Grid:
    """Read the columns of all pairs.

    Raises:
        StoreError: a chunk of the window is missing or damaged.
    """
    shape = len(pairs), len(axis.open_times)
    values: dict[str, Values] = {
        name: np.zeros(shape, np.int64) if is_integer(name) else np.full(shape, np.nan) for name in columns
    }
    grid = Grid(axis.open_times, values, np.zeros(shape, np.bool_))

    def place(at: int, klines: pa.Table) -> None:
        places = axis.places(open_times(klines))
        grid.present[at, places] = True
        for name in columns:
            values[name][at, places] = column(klines, name)

    read_each(pairs, columns, axis, place)
    return grid


def read_each(
    pairs: Sequence[Klines], columns: Sequence[str], axis: Axis, use: Callable[[int, pa.Table], T]
) -> list[T]:
    """What `use` makes, in a thread, of the number of each pair and its klines in each block; pair after pair.

    Raises:
        StoreError: a chunk of the window is missing or damaged.
    """
    names = ["open_time", *columns]

    def read(task: tuple[int, Span]) -> T:
        at, block = task
        return use(at, pairs[at].of_span(block, names))

    blocks = axis.blocks(len(names))
    return _in_threads(read, [(at, block) for at in range(len(pairs)) for block in blocks], pairs)


def read_codes(pairs: Sequence[DatasetKlines], axis: Axis) -> npt.NDArray[np.int8]:
    """The codes of `Axis.codes` of all pairs (pairs, times). Only the chunks that no manifest lists yet are read.

    Raises:
        StoreError: a chunk that the manifest does not list yet is damaged.
    """
    codes = np.empty((len(pairs), len(axis.open_times)), np.int8)

    def fill(at: int) -> None:
        codes[at] = axis.codes(reasons_of(pairs[at], axis.window))

    _in_threads(fill, range(len(pairs)), pairs)
    return codes


def is_integer(name: str) -> bool:
    """True for a column of whole numbers."""
    return bool(pa.types.is_integer(type_of(name)))


def type_of(name: str) -> pa.DataType:
    """The Arrow type of a column of klines, stored or resampled."""
    return (SCHEMA if name in FIELDS else RESAMPLED_SCHEMA).field(name).type


def _in_threads(work: Callable[[Any], T], tasks: Iterable[Any], pairs: Sequence[Klines]) -> list[T]:
    with ThreadPoolExecutor(max([READERS, *(pair.most_at_once for pair in pairs[:1])])) as readers:
        return list(readers.map(work, tasks))
