"""What an export reads: the klines of a pair within a window, a few weeks at a time.

Belongs here: dividing a window, what its dates mean, reading its parts, counting what goes by. Does not belong here:
reading itself (`reader.klines`), what becomes of the klines (the formats).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.reader.klines import DatasetKlines
from market_data_pipeline.reader.windows import Instant, instant_ms

DAY_MS = 1440 * MINUTE_MS
# 4 MB of all fields.
_MOST_DAYS = 28
_MOST_NAMES = 3


def parts_of(window: Span, most_days: int = _MOST_DAYS) -> Iterator[Span]:
    """The window in parts of so many UTC days, cut at midnights of UTC."""
    start_ms = window.start_ms
    while start_ms < window.end_ms:
        end_ms = min(window.end_ms, (start_ms // DAY_MS + most_days) * DAY_MS)
        yield Span(start_ms, end_ms)
        start_ms = end_ms


@dataclass(frozen=True, slots=True)
class Source:
    """The klines of a pair within a window."""

    klines: DatasetKlines
    window: Span

    @property
    def dataset(self) -> Dataset:
        """Whose klines these are."""
        return self.klines.dataset

    def tables(self, fields: Sequence[str], within: Span | None = None) -> Iterator[pa.Table]:
        """The klines in order, part after part; parts without klines are left out.

        Raises:
            StoreError: a chunk is missing or damaged.
        """
        for part in parts_of(within or self.window):
            table = self.klines.to_arrow(part.start_ms, part.end_ms, fields)
            if table.num_rows:
                yield table


def notes_of_zones(sources: Iterable[Source], start: Instant, end: Instant) -> tuple[str, ...]:
    """What a user should know whose start or end is another instant for one pair than for another."""
    pairs, windows = dict[str, list[str]](), set[tuple[int | None, ...]]()
    for source in sources:
        zone = source.klines.zone
        pairs.setdefault(zone.name, []).append(source.dataset.pair)
        windows.add((instant_ms(start, zone), instant_ms(end, zone)))
    if len(windows) < 2:
        return ()
    zones = ", ".join(f"{zone} ({_some(named)})" for zone, named in sorted(pairs.items()))
    return (
        f"start and end are those of each pair's days, which are of different zones: {zones}; give tz (--align-tz)",
    )


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
