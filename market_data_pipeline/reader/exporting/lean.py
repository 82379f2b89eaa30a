"""The files of QuantConnect's Lean: a zip for each pair and UTC day, with one CSV file in it.

Belongs here: its names, and numbers as it parses them. Does not belong here: other resolutions than the minute.

Read from Lean's `Common/Util/LeanData.cs` and from the files in its `Data` folder: spot in
`crypto/binance/minute/btcusdt/20240101_trade.zip`, futures in `cryptofuture/binance/...` with `_perp` in the name of
the CSV file. A line is ms since midnight UTC, open, high, low, close, volume. Lean's parser knows no exponents.
A window of local days cuts a UTC day at each end, so that two exports side by side share a zip: what it has of minutes
outside of the window stays.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.table import column, cut, open_times
from market_data_pipeline.core.store import atomic
from market_data_pipeline.reader.exporting.forms import Written, require_minutes
from market_data_pipeline.reader.exporting.sources import DAY_MS, Source, Tally, parts_of

_FIELDS = ("open_time", "open", "high", "low", "close", "volume")
# The earliest that a zip can have, so that equal klines give equal bytes.
_WRITTEN_ON = (1980, 1, 1, 0, 0, 0)


class LeanFiles:
    """A zip for each pair and day below `output`, which is Lean's `data` folder."""

    def in_the_way(self, output: Path, source: Source) -> Iterator[Path]:
        """See `Form.in_the_way`."""
        require_minutes(source, "Lean")
        folder = _folder(output, source.dataset)
        if folder.exists():
            days = (_zip_name(day) for day in parts_of(source.window, most_days=1))
            yield from (folder / name for name in days if (folder / name).exists())

    def write(self, output: Path, source: Source, tally: Tally) -> Written:
        """See `Form.write`."""
        folder, files = _folder(output, source.dataset), list[Path]()
        for _ in source.tables(_FIELDS):
            pass  # all is read once before: a damaged chunk must leave no zip of the days before it
        for klines in tally.counted(source.tables(_FIELDS)):
            atomic.make_folder(folder)
            times = open_times(klines)
            for day in parts_of(Span(int(times[0]), int(times[-1]) + 1), most_days=1):
                if (of_day := cut(klines, day)).num_rows:
                    path = folder / _zip_name(day)
                    content = _zipped(of_day, _entry_name(source.dataset, day), _Kept.of(path, day, source.asked))
                    atomic.write_whole(path, content, syncs_folder=False)
                    files.append(path)
            atomic.sync_folder(folder)
        return Written(tuple(files))


def _folder(output: Path, dataset: Dataset) -> Path:
    """Where the zips of a pair are.

    Raises:
        UsageError: Lean has no such pair of this exchange.
    """
    if dataset.market.has_contracts and "_" in dataset.token:
        raise UsageError(f"{dataset.name}: Lean has no contracts with a delivery of this exchange; leave it out")
    kind = "cryptofuture" if dataset.market.has_contracts else "crypto"
    return output / kind / "binance" / "minute" / dataset.token.lower()


def _zip_name(day: Span) -> str:
    return f"{_date(day)}_trade.zip"


def _entry_name(dataset: Dataset, day: Span) -> str:
    perpetual = "_perp" if dataset.market.has_contracts else ""
    return f"{_date(day)}_{dataset.token.lower()}_minute_trade{perpetual}.csv"


def _date(day: Span) -> str:
    return datetime.fromtimestamp(day.start_ms / 1000, UTC).strftime("%Y%m%d")


@dataclass(frozen=True, slots=True)
class _Kept:
    """The lines of a zip that is there, of the minutes before and after the window."""

    before: bytes = b""
    after: bytes = b""

    @classmethod
    def of(cls, path: Path, day: Span, window: Span) -> "_Kept":
        """Those of this file of a day; none if the window has all of it, or there is no file that can be read."""
        midnight_ms = day.start_ms // DAY_MS * DAY_MS
        if window.start_ms <= midnight_ms and midnight_ms + DAY_MS <= window.end_ms:
            return cls()
        try:
            with zipfile.ZipFile(path) as whole:
                lines = whole.read(whole.namelist()[0]).splitlines()
            timed = [(midnight_ms + int(line.partition(b",")[0]), line + b"\n") for line in lines]
        except (FileNotFoundError, zipfile.BadZipFile, zlib.error, EOFError, IndexError, ValueError, RuntimeError):
            return cls()
        before = (line for open_ms, line in timed if open_ms < window.start_ms)
        return cls(b"".join(before), b"".join(line for open_ms, line in timed if open_ms >= window.end_ms))


def _zipped(klines: pa.Table, name: str, kept: _Kept) -> bytes:
    columns = [pa.array(open_times(klines) % DAY_MS), *(_texts(klines, field) for field in _FIELDS[1:])]
    lines, content = io.BytesIO(), io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    pyarrow.csv.write_csv(pa.table(columns, names=list(_FIELDS)), lines, options)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as whole:
        text = kept.before + lines.getvalue() + kept.after
        whole.writestr(zipfile.ZipInfo(name, _WRITTEN_ON), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _texts(klines: pa.Table, field: str) -> pa.Array:
    """The numbers as the shortest decimals that mean the same, none of them with an exponent."""
    values = column(klines, field)
    texts = pa.array(values).cast(pa.string())
    with_exponent = pc.match_substring(texts, "e", ignore_case=True)
    if not pc.any(with_exponent).as_py():
        return texts
    at = np.flatnonzero(with_exponent.to_numpy(zero_copy_only=False))
    plain = texts.to_pylist()
    for place in at.tolist():
        plain[place] = np.format_float_positional(values[place], trim="-")
    return pa.array(plain, pa.string())
