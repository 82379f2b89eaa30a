"""The Parquet encoding of a chunk, and what its footer says about it.

Belongs here: bytes in, bytes out. Does not belong here: paths, renames, checksums of files (`store`).

The encoding is the smallest that pandas, polars, DuckDB and pyarrow all read without options: zstd 3, no dictionary,
plain floats, delta-packed integers; 30 % smaller than pyarrow's default and faster both ways (docs/benchmarks.md).
Equal klines and footer give equal bytes, so nothing that changes from run to run may be put into the footer.
"""

import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.klines.coverage import Absence
from market_data_pipeline.core.klines.table import FIELDS, INTEGER_FIELDS, SCHEMA

FOOTER_KEY = b"market_data"
_FORMAT = 1
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
    """What a chunk says about itself: enough to rebuild its manifest entry from the file alone."""

    market: str
    pair: str
    tz: str
    day: str
    source: str
    absences: tuple[Absence, ...]

    def to_json(self) -> dict[str, Any]:
        """As the Parquet key-value metadata has it."""
        return {
            "format": _FORMAT,
            "market": self.market,
            "pair": self.pair,
            "tz": self.tz,
            "day": self.day,
            "source": self.source,
            "absences": [absence.to_json() for absence in self.absences],
        }

    @classmethod
    def from_json(cls, content: Any) -> "Footer":
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: not such a footer.
        """
        if content["format"] != _FORMAT:
            raise ValueError(f"footer format {content['format']} is not {_FORMAT}")
        absences = tuple(Absence.from_json(absence) for absence in content["absences"])
        return cls(content["market"], content["pair"], content["tz"], content["day"], content["source"], absences)


def footer_metadata(content: dict[str, Any]) -> dict[bytes, bytes]:
    """The Parquet key-value metadata that keeps `content` as JSON under `market_data`."""
    return {FOOTER_KEY: json.dumps(content, separators=(",", ":")).encode()}


def footer_content(metadata: dict[bytes, bytes] | None) -> Any:
    """The inverse of `footer_metadata`.

    Raises:
        ValueError: the file was not written by this package.
    """
    if not metadata or FOOTER_KEY not in metadata:
        raise ValueError("the Parquet footer does not say what it holds")
    return json.loads(metadata[FOOTER_KEY])


def encode(klines: pa.Table, footer: Footer, *, row_group_rows: int | None = None) -> bytes:
    """The bytes of a chunk; `row_group_rows` is the most rows of a Parquet row group, None for the whole day in one."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, **WRITER_OPTIONS) as writer:
        writer.add_key_value_metadata(footer_metadata(footer.to_json()))
        writer.write_table(klines, row_group_size=row_group_rows)
    return sink.getvalue()


def decode(content: bytes) -> tuple[pa.Table, Footer]:
    """The klines and the footer of a chunk's bytes.

    Raises:
        ValueError, KeyError, TypeError, OSError: not a whole chunk (pyarrow's own errors are ValueErrors or OSErrors).
    """
    # From memory and of one row group there is nothing to read ahead or in parallel; who has many chunks has threads.
    source = pa.BufferReader(content)
    with pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False) as file:
        footer = Footer.from_json(footer_content(file.metadata.metadata))
        klines = file.read(use_threads=False)
    if klines.schema.remove_metadata() != SCHEMA:
        raise ValueError("its columns are not the twelve fields of a kline with their types")
    return klines, footer
