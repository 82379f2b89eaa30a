"""The files of freqtrade: one in Arrow's IPC format, called feather, for each pair.

Belongs here: its names of files, columns and intervals, and its types. Does not belong here: filling minutes, which
freqtrade does itself when it reads.

Read from freqtrade 2026.9 (`data/history/datahandlers`): `<datadir>/BTC_USDT-1m.feather` for spot,
`<datadir>/futures/BTC_USDT_USDT-1m-futures.feather` for futures, with `date` in ms and five columns of floats. A month
is `1Mo` in the name of a file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.reader.exporting.forms import TableWriter, Written, write_file
from market_data_pipeline.reader.exporting.sources import Source, Tally
from market_data_pipeline.reader.resampling import Interval, parse_interval

_FIELDS = ("open_time", "open", "high", "low", "close", "volume")
_DATE = pa.timestamp("ms", tz="UTC")
_BATCH_ROWS = 65_536
# The intervals of the exchange, as freqtrade takes no others for it, but for 3d, which is none of a calendar.
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
_TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w", "1mo")


class FreqtradeFiles:
    """A file for each pair below `output`, which is freqtrade's `datadir`: `user_data/data/binance`."""

    def in_the_way(self, output: Path, source: Source) -> Iterator[Path]:
        """See `Form.in_the_way`."""
        if (path := _path(output, source)).exists():
            yield path

    def write(self, output: Path, source: Source, tally: Tally) -> Written:
        """See `Form.write`."""
        path = _path(output, source)
        tables = map(_of_freqtrade, tally.counted(source.tables(_FIELDS)))
        return Written((path,) if write_file(path, tables, _feather_file) else ())


@contextmanager
def _feather_file(file: pa.NativeFile, schema: pa.Schema) -> Iterator[TableWriter]:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(file, schema, options=options) as writer:
        yield _InBatches(writer)


class _InBatches:
    def __init__(self, writer: pa.RecordBatchFileWriter) -> None:
        self._writer = writer

    def write_table(self, table: pa.Table) -> None:
        """Write the next rows."""
        self._writer.write_table(table, max_chunksize=_BATCH_ROWS)


def _of_freqtrade(klines: pa.Table) -> pa.Table:
    dates = klines.column("open_time").cast(_DATE)
    columns = [dates, *(klines.column(name) for name in _FIELDS[1:])]
    return pa.table(columns, names=["date", *_FIELDS[1:]]).combine_chunks()


def _path(output: Path, source: Source) -> Path:
    dataset, timeframe = source.dataset, _timeframe(source.interval)
    base, _, quoted = dataset.pair.partition("/")
    if not dataset.market.has_contracts:
        return output / f"{base}_{quoted}-{timeframe}.feather"
    # ccxt's names: BTC/USDT:USDT, and BTC/USDT:USDT-240628 for a contract that is delivered.
    quote, _, delivery = quoted.partition("_")
    contract = f"{base}_{quote}_{quote}-{delivery}" if delivery else f"{base}_{quote}_{quote}"
    return output / "futures" / f"{contract}-{timeframe}-futures.feather"


def _timeframe(interval: Interval) -> str:
    """The interval in the name of a file, whatever it was called: 60m is 1h.

    Raises:
        UsageError: freqtrade has none of this length.
    """
    for known in map(parse_interval, _TIMEFRAMES):
        if (known.minutes, known.starts_on) == (interval.minutes, interval.starts_on):
            return known.name.replace("mo", "Mo")
    raise UsageError(f"freqtrade has no {interval.name} klines of this exchange; give one of {', '.join(_TIMEFRAMES)}")
