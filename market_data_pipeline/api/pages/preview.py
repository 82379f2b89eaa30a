"""A page of rows of a Parquet file of the store, and what the file says of itself.

Belongs here: reading no more of a file than the page needs. Does not belong here: which file (`paths`), how rows look
(`pages`).
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.days import Zone, day_of, parse_zone
from market_data_pipeline.core.klines.table import EMPTY, SCHEMA
from market_data_pipeline.core.store.chunks import encoding as chunk_encoding
from market_data_pipeline.core.store.chunks.encoding import Footer, parse_footer
from market_data_pipeline.core.store.combined import CombinedFooter

# A day with 25 hours, whole.
MOST_ROWS = 1500
_DAMAGED = (OSError, ValueError, KeyError, TypeError, UsageError)


@dataclass(frozen=True, slots=True)
class Preview:
    """Rows `[offset, offset + page.num_rows)` of a file of `total_rows`; `charted` are the klines to draw.

    A chunk has a `footer`, should have `expected_rows`, and is drawn whole. Of a combined file, made of `chunks`, the
    page is drawn.
    """

    pair: str
    market: str
    zone: Zone
    total_rows: int
    size_bytes: int
    offset: int
    limit: int
    page: pa.Table
    charted: pa.Table
    footer: Footer | None = None
    expected_rows: int | None = None
    chunks: int | None = None


def of_chunk(path: Path, *, offset: int, limit: int) -> Preview:
    """A page of a chunk.

    Raises:
        StoreError: it is gone, torn, damaged, or no chunk of ours.
    """
    try:
        content = path.read_bytes()
        klines, footer = chunk_encoding.decode(content)
        zone = parse_zone(footer.tz)
        day = day_of(zone, date.fromisoformat(footer.day))
    except _DAMAGED as error:
        raise _unreadable(path, error, "run market-data verify --repair") from error
    return Preview(
        pair=footer.pair,
        market=footer.market,
        zone=zone,
        total_rows=klines.num_rows,
        size_bytes=len(content),
        offset=offset,
        limit=limit,
        page=klines.slice(offset, limit),
        charted=klines,
        footer=footer,
        expected_rows=day.minutes,
    )


def of_combined(path: Path, *, offset: int, limit: int) -> Preview:
    """A page of a combined file, of which only the row groups are read that the page touches.

    Raises:
        StoreError: it is gone, torn, damaged, or no combined file of ours.
    """
    try:
        # The path is opened once: what replaces the file meanwhile does not mix with it.
        with path.open("rb") as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
            footer = parse_footer(CombinedFooter, file.metadata.metadata)
            page = _rows(file, offset, limit)
            if file.schema_arrow.remove_metadata() != SCHEMA:
                raise ValueError("its columns are not the twelve fields of a kline with their types")
            return Preview(
                pair=footer.pair,
                market=footer.market,
                zone=parse_zone(footer.tz),
                total_rows=file.metadata.num_rows,
                size_bytes=path.stat().st_size,
                offset=offset,
                limit=limit,
                page=page,
                charted=page,
                chunks=footer.chunks,
            )
    except _DAMAGED as error:
        raise _unreadable(path, error, "run market-data combine") from error


def _rows(file: pq.ParquetFile, offset: int, limit: int) -> pa.Table:
    touched, first, at = list[int](), 0, 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if at < offset + limit and offset < at + rows:
            first = first if touched else at
            touched.append(group)
        at += rows
    return file.read_row_groups(touched).slice(offset - first, limit) if touched else EMPTY


def _unreadable(path: Path, error: Exception, remedy: str) -> StoreError:
    said = "it is gone" if isinstance(error, FileNotFoundError) else " ".join(f"{error}".split())
    return StoreError(f"{path.name} cannot be read ({said}); {remedy}")
