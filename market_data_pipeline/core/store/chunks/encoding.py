"""The Parquet encoding of a chunk and of its footer.

Belongs here: from klines to bytes and back. Does not belong here: paths, renames, checksums of files (`files`).

The encoding is the smallest that pandas, polars, DuckDB and pyarrow all read without options: zstd 3, no dictionary,
plain floats, delta-packed integers; 30 % smaller than pyarrow's default and faster both ways (docs/benchmarks.md).
Equal klines and footer give equal bytes, so nothing that changes from run to run may be put into the footer.
"""

import io
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.klines.coverage import Absence
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import FIELDS, INTEGER_FIELDS, SCHEMA
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.records import (
    AbsenceRecord,
    FlawsRecord,
    absence_of,
    absence_record,
    flaws_of,
    flaws_records,
)
from market_data_pipeline.core.text import count_text, reason_text

FOOTER_KEY = b"market_data"
MOST_CHUNK_BYTES = 64_000_000
"""More than the largest chunk, with a reason of its own for each of its minutes."""
MOST_ROWS = 1620
"""The minutes of the longest day that any zone has had since there are klines: 27 hours in Antarctica/Casey."""
R = TypeVar("R")
WRITER_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "column_encoding": {name: "DELTA_BINARY_PACKED" if name in INTEGER_FIELDS else "PLAIN" for name in FIELDS},
    "store_schema": False,
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Footer:
    """The facts of a chunk that its klines do not hold; with both, a manifest entry is rebuilt from the file alone."""

    market: str
    pair: str
    tz: str
    day: str
    source: str
    absences: tuple[Absence, ...]
    flaws: tuple[Flaw, ...] = ()


@dataclass(slots=True)
class _FooterRecord:
    format: Literal[1]
    market: str
    pair: str
    tz: str
    day: str
    source: str
    absences: tuple[AbsenceRecord, ...]
    flaws: tuple[FlawsRecord, ...] = ()


def footer_metadata(record: Any) -> dict[bytes, bytes]:
    """The Parquet key-value metadata that keeps a record as JSON under `market_data`."""
    return {FOOTER_KEY: records.compact(record)}


def parse_footer(record: type[R], metadata: dict[bytes, bytes] | None) -> R:
    """The inverse of `footer_metadata`.

    Raises:
        ValueError: the file was not written by this package, or holds another kind of record.
    """
    if not metadata or FOOTER_KEY not in metadata:
        raise ValueError(f"the Parquet footer has no {FOOTER_KEY.decode()}")
    return records.parse(record, metadata[FOOTER_KEY])


def encode(klines: pa.Table, footer: Footer, *, row_group_rows: int | None = None) -> bytes:
    """The bytes of a chunk; `row_group_rows` is the most rows of a Parquet row group, None for the whole day in one."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, **WRITER_OPTIONS) as writer:
        writer.add_key_value_metadata(footer_metadata(_record_of(footer)))
        writer.write_table(klines, row_group_size=row_group_rows)
    return sink.getvalue()


def decode(content: bytes) -> tuple[pa.Table, Footer]:
    """The klines and the footer of a chunk's bytes.

    Raises:
        ValueError, OSError: not a whole chunk (pyarrow's own errors are ValueErrors or OSErrors).
    """
    # From memory and of one row group there is nothing to read ahead or in parallel; who has many chunks has threads.
    source = pa.BufferReader(content)
    try:
        with pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False) as file:
            if file.metadata.num_rows > MOST_ROWS:
                raise ValueError(f"it says that it has {count_text(file.metadata.num_rows, 'row')}")
            footer = _footer_of(parse_footer(_FooterRecord, file.metadata.metadata))
            klines = file.read(use_threads=False)
    except (KeyError, TypeError, IndexError, MemoryError, pa.ArrowException) as error:
        raise ValueError(reason_text(error)) from error
    if klines.schema.remove_metadata() != SCHEMA:
        raise ValueError("its columns are not the twelve fields of a kline with their types")
    if klines.num_rows > MOST_ROWS or any(column.null_count for column in klines.columns):
        raise ValueError("it has too many rows, or a row without a value")
    return klines, footer


def _record_of(footer: Footer) -> _FooterRecord:
    absences = tuple(map(absence_record, footer.absences))
    flaws = flaws_records(footer.flaws)
    facts = footer.market, footer.pair, footer.tz, footer.day, footer.source
    return _FooterRecord(records.FORMAT, *facts, absences, flaws)


def _footer_of(record: _FooterRecord) -> Footer:
    absences = tuple(map(absence_of, record.absences))
    flaws = flaws_of(record.flaws)
    return Footer(record.market, record.pair, record.tz, record.day, record.source, absences, flaws)
