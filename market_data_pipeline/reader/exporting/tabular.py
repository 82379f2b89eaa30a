"""CSV and Parquet: a file for each pair, or one for a panel.

Belongs here: the two encodings, the names of columns in CSV, files of pairs. Does not belong here: tables of several
pairs (`panels`).

A CSV file has the names that the exchange's own files have. A Parquet file is like the store's: names, types, encoding.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from market_data_pipeline.core.store.chunks.encoding import WRITER_OPTIONS
from market_data_pipeline.reader.exporting.forms import Opened, TableWriter, Written, write_file
from market_data_pipeline.reader.exporting.sources import Source, Tally

CSV_NAMES = {
    "trades": "count",
    "taker_base_volume": "taker_buy_volume",
    "taker_quote_volume": "taker_buy_quote_volume",
}
"""The columns whose names in the exchange's files are not those of the store."""
_ROW_GROUP_ROWS = 131_072


@contextmanager
def csv_file(file: pa.NativeFile, schema: pa.Schema) -> Iterator[TableWriter]:
    """Begin a CSV file; an absent value is empty, and a number is the shortest that means the same."""
    file.write((",".join(CSV_NAMES.get(name, name) for name in schema.names) + "\n").encode())
    plain = pa.schema([(field.name, pa.string() if _is_text(field) else field.type) for field in schema])
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with pyarrow.csv.CSVWriter(file, plain, write_options=options) as writer:
        yield _OfPlain(writer, plain)


@dataclass(frozen=True, slots=True)
class _OfPlain:
    writer: pyarrow.csv.CSVWriter
    schema: pa.Schema

    def write_table(self, table: pa.Table) -> None:
        """Write the next rows."""
        self.writer.write_table(table.cast(self.schema))


@contextmanager
def parquet_file(file: pa.NativeFile, schema: pa.Schema) -> Iterator[TableWriter]:
    """Begin a Parquet file with the store's encoding of integers, floats and pages."""
    texts = [field.name for field in schema if _is_text(field)]
    encoding = {
        field.name: "DELTA_BINARY_PACKED" if pa.types.is_integer(field.type) else "PLAIN"
        for field in schema
        if field.name not in texts
    }
    # pyarrow keeps that a column is a dictionary in its own schema, which others need not have.
    options = {**WRITER_OPTIONS, "use_dictionary": texts or False, "column_encoding": encoding}
    with pq.ParquetWriter(file, schema, **options) as writer:
        yield _InRowGroups(writer)


@dataclass(frozen=True, slots=True)
class _InRowGroups:
    writer: pq.ParquetWriter

    def write_table(self, table: pa.Table) -> None:
        """Write the next rows."""
        self.writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_dictionary(field.type))


FILES: dict[str, Opened] = {"csv": csv_file, "parquet": parquet_file}
"""How the file of a format begins, which is also the ending of its name."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """A file for each pair, `binance/BTCUSDT_1m.csv`, with these columns."""

    ending: str
    columns: Sequence[str]

    def in_the_way(self, output: Path, source: Source) -> Iterator[Path]:
        """See `Form.in_the_way`."""
        if (path := self._path(output, source)).exists():
            yield path

    def write(self, output: Path, source: Source, tally: Tally) -> Written:
        """See `Form.write`."""
        path = self._path(output, source)
        tables = tally.counted(source.tables(self.columns))
        return Written((path,) if write_file(path, tables, FILES[self.ending]) else ())

    def _path(self, output: Path, source: Source) -> Path:
        dataset = source.dataset
        return output / dataset.market.exchange_id / f"{dataset.token}_{source.interval.name}.{self.ending}"
