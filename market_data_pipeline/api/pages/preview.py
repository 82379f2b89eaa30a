"""A page of rows of a chunk or combined file, and the metadata in the file's footer.

Belongs here: reading only the part of a file that the page needs. Does not belong here: which file (`stored_files`),
the text of a row (`chart`).
"""

from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError, UsageError, is_refusal
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import Zone, day_of, parse_zone
from market_data_pipeline.core.klines.table import SCHEMA
from market_data_pipeline.core.store.chunks import encoding as chunk_encoding
from market_data_pipeline.core.store.chunks.encoding import Footer, parse_footer
from market_data_pipeline.core.store.chunks.growing import grown, lacked
from market_data_pipeline.core.store.combined import CombinedFooter, read_rows
from market_data_pipeline.core.store.journal.segments import Owner, journaled
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath

# All minutes of a day with 25 hours.
MOST_ROWS = 1500
# A day after which there is none is an OverflowError.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, OverflowError, UsageError)


@dataclass(frozen=True, slots=True)
class Preview:
    """The rows `[offset, offset + page.num_rows)` of a file that has `total_rows`.

    `charted` has the klines of the chart: the whole day of a chunk, the page of a combined file. A chunk has a `footer`
    and `expected_rows`, the minutes of its day; a combined file has `chunks`, the number of chunks that it consists of.
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


def of_chunk(path: StorePath, *, offset: int, limit: int) -> Preview:
    """Read a page of a chunk, with what only the journal has of its day.

    Raises:
        StoreError: the file does not exist, is damaged, or is not a chunk of this project.
        OSError, StoreUnavailable: the disk or the object store lets nobody read it now.
    """
    try:
        content, klines, footer = _read_chunk(path)
        zone = parse_zone(footer.tz)
        day = day_of(zone, date.fromisoformat(footer.day))
        if any(absence.kind is Kind.OPEN for absence in footer.absences):
            # Before the chunk, which is read again: klines leave the journal only after their chunk has them.
            of_journal = journaled(path.parent.parent, Owner(footer.pair, footer.tz))
            content, klines, footer = _read_chunk(path)
            if (new := lacked(klines, of_journal, day)).num_rows:
                klines, footer = grown(klines, footer, new)
    except _DAMAGED as error:
        if is_refusal(error):
            raise
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


def of_combined(path: StorePath, *, offset: int, limit: int) -> Preview:
    """Read a page of a combined file; row groups outside the page are not read.

    Raises:
        StoreError: the file does not exist, is damaged, or is not a combined file of this project.
        OSError: the disk or the object store lets nobody read it now.
    """
    try:
        # All reads are of the same file, even if another one replaces it meanwhile.
        with storage_of(path).open(path) as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
            footer = parse_footer(CombinedFooter, file.metadata.metadata)
            page = read_rows(file, offset, limit)
            if file.schema_arrow.remove_metadata() != SCHEMA:
                raise ValueError("its columns are not the twelve fields of a kline with their types")
            return Preview(
                pair=footer.pair,
                market=footer.market,
                zone=parse_zone(footer.tz),
                total_rows=file.metadata.num_rows,
                size_bytes=opened.size(),
                offset=offset,
                limit=limit,
                page=page,
                charted=page,
                chunks=footer.chunks,
            )
    except _DAMAGED as error:
        if is_refusal(error):
            raise
        raise _unreadable(path, error, "run market-data combine") from error


def _read_chunk(path: StorePath) -> tuple[bytes, pa.Table, Footer]:
    content = storage_of(path).read(path, chunk_encoding.MOST_CHUNK_BYTES)
    return content, *chunk_encoding.decode(content)


def _unreadable(path: StorePath, error: Exception, remedy: str) -> StoreError:
    reason = "it is gone" if isinstance(error, FileNotFoundError) else " ".join(f"{error}".split())
    return StoreError(f"{path.name} cannot be read ({reason}); {remedy}")
