"""The files of NautilusTrader's `ParquetDataCatalog`: bars of a minute, one Parquet file for each pair and export.

Belongs here: its names, its schema, its numbers. Does not belong here: instruments, which its own adapter writes.

Read from nautilus_trader 1.221 (`persistence/catalog/parquet.py`): a folder for each kind of bars, such as
`data/bar/BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL/`, with files named by the times of their first and last bars. A
price is a whole number of 16 bytes, the lowest first, in units of 1e-16. `ts_event` and `ts_init` are the end of the
kline in ns, as its Binance adapter has them. All bars of a file have the same number of decimals, so that klines are
read twice: to learn it, and to write them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError, StoreUnavailable, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import column, open_times
from market_data_pipeline.core.text import count_text
from market_data_pipeline.reader.exporting.forms import TableWriter, Written, require_minutes, write_file
from market_data_pipeline.reader.exporting.sources import Source, Tally

_PRICES = ("open", "high", "low", "close")
_FIELDS = ("open_time", *_PRICES, "volume")
_NUMBER = pa.decimal128(38, 16)
_MOST_DECIMALS = 16
# As the catalog writes them.
_ROW_GROUP_ROWS = 5000
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.binary(16), nullable=False) for name in (*_PRICES, "volume")),
        pa.field("ts_event", pa.uint64(), nullable=False),
        pa.field("ts_init", pa.uint64(), nullable=False),
    ]
)
_END = ".parquet"


@dataclass(frozen=True, slots=True)
class _Decimals:
    """How many decimals the prices and the volumes of a pair have at most."""

    price: int = 0
    size: int = 0

    def of(self, klines: pa.Table) -> "_Decimals":
        """Those of these klines, too."""
        price = max(_decimals(_numbers(klines, name)) for name in _PRICES)
        return _Decimals(max(self.price, price), max(self.size, _decimals(_numbers(klines, "volume"))))


class NautilusFiles:
    """A file of bars for each pair below `output`, which is the catalog's path."""

    def in_the_way(self, output: Path, source: Source) -> Iterator[Path]:
        """See `Form.in_the_way`: a catalog refuses files whose times overlap.

        Raises:
            UsageError: one has bars before or after the window that was asked for, which would be lost with it.
        """
        require_minutes(source, "NautilusTrader")
        asked = source.asked
        for path, ends in _overlapping(_folder(output, source.dataset), source.window):
            if ends.start_ms < asked.start_ms or ends.end_ms > asked.end_ms:
                raise UsageError(f"{path} has bars outside of the window; give a window with them, or another folder")
            yield path

    def write(self, output: Path, source: Source, tally: Tally) -> Written:
        """See `Form.write`."""
        seen, decimals = Tally(), _Decimals()
        for klines in seen.counted(_good(source.tables(_FIELDS))):
            decimals = decimals.of(klines)
        if seen.first_open_ms is None or seen.last_open_ms is None:
            return Written()
        # Minutes may be added while the klines are read; those are left for another export.
        window = Span(seen.first_open_ms, seen.last_open_ms + MINUTE_MS)
        folder = _folder(output, source.dataset)
        before = [path for path, _ in _overlapping(folder, source.window)]
        path = folder / _file_name(window)
        left_out = Tally()
        klines = tally.counted(_good(source.tables(_FIELDS, window), left_out))
        write_file(path, (_bars(each, decimals, source.dataset) for each in klines), _parquet_file)
        for each in before:
            if each != path:
                each.unlink()
        return Written((path,), _notes(decimals, left_out))


def _notes(decimals: _Decimals, left_out: Tally) -> tuple[str, ...]:
    notes = [f"an instrument needs price_precision {decimals.price} and size_precision {decimals.size}"]
    if left_out.rows:
        count = count_text(left_out.rows, "kline")
        notes.append(f"{count} left out, as a bar cannot have a high below, or a low above, another of its prices")
    return tuple(notes)


@contextmanager
def _parquet_file(file: pa.NativeFile, schema: pa.Schema) -> Iterator[TableWriter]:
    with pq.ParquetWriter(file, schema) as writer:
        yield _InRowGroups(writer)


@dataclass(frozen=True, slots=True)
class _InRowGroups:
    writer: pq.ParquetWriter

    def write_table(self, table: pa.Table) -> None:
        """Write the next rows."""
        self.writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)


# --- klines as bars


def _good(tables: Iterable[pa.Table], left_out: Tally | None = None) -> Iterator[pa.Table]:
    """The klines that can be bars; the others are counted."""
    for klines in tables:
        opened, high, low, close = (column(klines, name) for name in _PRICES)
        can_be = (high >= np.maximum(opened, close)) & (low <= np.minimum(opened, close))
        can_be &= (high >= low) & (column(klines, "volume") >= 0)
        if left_out is not None and not can_be.all():
            for _ in left_out.counted([klines.filter(pa.array(~can_be))]):
                pass
        if can_be.any():
            yield klines if can_be.all() else klines.filter(pa.array(can_be))


def _bars(klines: pa.Table, decimals: _Decimals, dataset: Dataset) -> pa.Table:
    """The klines in the catalog's schema.

    Raises:
        StoreUnavailable: they have more decimals than when they were read before.
    """
    if decimals.of(klines) != decimals:
        raise StoreUnavailable(f"{dataset.name} was changed while it was exported; run the same command again")
    numbers = [_binary(_numbers(klines, name)) for name in (*_PRICES, "volume")]
    ended_ns = pa.array((open_times(klines) + (MINUTE_MS - 1)).astype(np.uint64) * np.uint64(1_000_000))
    described = {
        "bar_type": _bar_type(dataset),
        "instrument_id": _instrument(dataset),
        "price_precision": str(decimals.price),
        "size_precision": str(decimals.size),
    }
    return pa.table([*numbers, ended_ns, ended_ns], schema=_SCHEMA.with_metadata(described))


def _numbers(klines: pa.Table, name: str) -> pa.Array:
    """A column as decimals: the shortest that mean the same as the floats, which are those of the exchange.

    Raises:
        StoreError: one of them is too long.
    """
    try:
        return pa.array(column(klines, name)).cast(pa.string()).cast(_NUMBER)
    except pa.ArrowInvalid:
        raise StoreError(f"its {name} has a number with more than {_MOST_DECIMALS} decimals, as no bar has") from None


def _decimals(numbers: pa.Array) -> int:
    """How many decimals are needed, at most."""
    each = range(_MOST_DECIMALS)
    return next((at for at in each if pc.all(pc.equal(pc.round(numbers, at), numbers)).as_py()), _MOST_DECIMALS)


def _binary(numbers: pa.Array) -> pa.Array:
    """The same memory: a decimal is a whole number of 16 bytes, the lowest first."""
    _, values = numbers.buffers()
    return pa.Array.from_buffers(pa.binary(16), len(numbers), [None, values], offset=numbers.offset)


# --- names


def _instrument(dataset: Dataset) -> str:
    """`BTCUSDT.BINANCE`; a perpetual contract is `BTCUSDT-PERP.BINANCE`."""
    is_perpetual = dataset.market.has_contracts and "_" not in dataset.token
    return f"{dataset.token}{'-PERP' if is_perpetual else ''}.BINANCE"


def _bar_type(dataset: Dataset) -> str:
    return f"{_instrument(dataset)}-1-MINUTE-LAST-EXTERNAL"


def _folder(output: Path, dataset: Dataset) -> Path:
    return output / "data" / "bar" / _bar_type(dataset)


def _file_name(window: Span) -> str:
    """`2024-01-01T00-00-59-999000000Z_2024-01-31T23-59-59-999000000Z.parquet`: the ends of the first and last bar."""
    ends_ms = (window.start_ms + MINUTE_MS - 1, window.end_ms - 1)
    return "_".join(f"{_moment(ms):%Y-%m-%dT%H-%M-%S}-{ms % 1000:03d}000000Z" for ms in ends_ms) + _END


def _moment(instant_ms: int) -> datetime:
    return datetime.fromtimestamp(instant_ms // 1000, UTC)


def _overlapping(folder: Path, window: Span) -> Iterator[tuple[Path, Span]]:
    """The files of bars in a folder that overlap the window, with the times of the first and last bar of each."""
    for path in sorted(folder.glob(f"*{_END}")):
        times = [_instant_ms(text) for text in path.name.removesuffix(_END).split("_")]
        if len(times) == 2 and None not in times:
            first_ms, last_ms = times
            if first_ms is not None and last_ms is not None and first_ms < window.end_ms and last_ms >= window.start_ms:
                yield path, Span(first_ms, last_ms)


def _instant_ms(text: str) -> int | None:
    try:
        return int(datetime.strptime(text[:19], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None
