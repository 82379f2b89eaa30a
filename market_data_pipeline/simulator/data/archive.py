"""The archive: paths of files, zips and checksums, and a folder with files of the real archive.

Belongs here: paths as on data.binance.vision, publication times, reading zips of the folder, writing and changing zips.
Does not belong here: the klines of a day (`history`), faults (`file_faults`), HTTP (`exchange`).
"""

import hashlib
import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from market_data_pipeline.simulator.data.clock import DAY_MS
from market_data_pipeline.simulator.data.pairs import Market

PUBLICATION_DELAY_MS = 4 * 3_600_000
FOLDERS: dict[str, Market] = {"spot": "spot", "futures/um": "futures"}
_PATH = re.compile(
    r"data/(?P<folder>spot|futures/um)/(?P<span>daily|monthly)/klines/(?P<symbol>(?:(?![a-z])\w)+)/1m/"
    r"(?P=symbol)-1m-(?P<period>\d{4}-\d\d(?:-\d\d)?)\.zip(?P<checksum>\.CHECKSUM)?"
)
EPOCH = date(1970, 1, 1)
_SPOT_MICROSECONDS_FROM = date(2025, 1, 1)
_FUTURES_HEADER_FROM = date(2022, 5, 1)
_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,"
    b"quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """The path of one archive file and what it says: the zip of a symbol's UTC day or month, or that zip's checksum."""

    path: str
    market: Market
    symbol: str
    first: date
    last: date
    is_checksum: bool

    @property
    def zip(self) -> "ArchiveName":
        """Return the name of the zip itself."""
        return replace(self, path=self.path.removesuffix(".CHECKSUM"), is_checksum=False)

    @property
    def file(self) -> str:
        """Return the file name of the zip."""
        return self.path.rpartition("/")[2].removesuffix(".CHECKSUM")

    @property
    def days(self) -> range:
        """Return the UTC days that the file covers, counted from the epoch."""
        return range(day_number(self.first), day_number(self.last) + 1)

    @property
    def published_ms(self) -> int:
        """Return the instant from which the file can be downloaded, ms since the epoch."""
        return self.days.stop * DAY_MS + PUBLICATION_DELAY_MS

    @property
    def microseconds(self) -> bool:
        """Return whether the times in the file are in microseconds."""
        return self.market == "spot" and self.first >= _SPOT_MICROSECONDS_FROM


def parse_path(path: str) -> ArchiveName | None:
    """Read a path such as data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-05-01.zip; None for other paths."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    try:
        first, last = _span(match["span"], match["period"])
    except ValueError:
        return None
    return ArchiveName(path, FOLDERS[match["folder"]], match["symbol"], first, last, match["checksum"] is not None)


def renamed(name: ArchiveName, symbol: str) -> ArchiveName:
    """Return the name of the same file of another symbol of the market."""
    return replace(name, path=name.path.replace(f"/{name.symbol}", f"/{symbol}"), symbol=symbol)


def _span(span: str, period: str) -> tuple[date, date]:
    if span == "daily":
        day = date.fromisoformat(period)
        return day, day
    first = datetime.strptime(period, "%Y-%m").replace(tzinfo=UTC).date()
    return first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def day_number(day: date) -> int:
    """Return the number of days from the epoch to a date."""
    return (day - EPOCH).days


def zip_bytes(name: ArchiveName, lines: bytes) -> bytes:
    """Pack CSV lines like the exchange. The same lines give the same bytes."""
    header = _HEADER if name.market == "futures" and name.first >= _FUTURES_HEADER_FROM else b""
    return zip_text(name, header + lines)


def zip_text(name: ArchiveName, text: bytes) -> bytes:
    """Pack the text of a file as it is."""
    following = name.last + timedelta(days=1)
    written = (following.year, following.month, following.day, 0, 0, 0)
    return _packed(zipfile.ZipInfo(name.file.replace(".zip", ".csv"), written), text)


def text_of(packed: bytes) -> bytes:
    """Return the text of the one file in a zip."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        return file.read(file.infolist()[0])


def repacked(packed: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a zip with its CSV lines changed and its header kept; the zip itself if no line changes."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        stored = file.infolist()[0]
        content = file.read(stored)
    header = b"" if content[:1].isdigit() else content[: content.find(b"\n") + 1]
    lines = content.removeprefix(header)
    changed = change(lines)
    return packed if changed == lines else _packed(zipfile.ZipInfo(stored.filename, stored.date_time), header + changed)


def _packed(entry: zipfile.ZipInfo, content: bytes) -> bytes:
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(entry, content, compresslevel=1)
    return packed.getvalue()


def checksum_line(name: ArchiveName, packed: bytes) -> bytes:
    """Return the content of the .CHECKSUM file of a zip."""
    return f"{hashlib.sha256(packed).hexdigest()}  {name.file}\n".encode()


class ArchiveTree:
    """The zips of 1-minute klines under a folder that contains `data/`."""

    def __init__(self, root: Path | None) -> None:
        """List the files. Files that are added later are not noticed.

        Raises:
            FileNotFoundError: the folder has no folder `data`.
        """
        self._root = root
        self._files: dict[tuple[Market, str], dict[int, Path]] = defaultdict(dict)
        if root is None:
            return
        if not (root / "data").is_dir():
            raise FileNotFoundError(f"{root} has no folder named data; give the folder that contains it")
        # Monthly zips first: where a day is in both, the daily one is right (binance-public-data#475).
        for span in ("monthly", "daily"):
            for path in sorted(root.glob(f"data/**/{span}/klines/*/1m/*.zip")):
                name = parse_path(path.relative_to(root).as_posix())
                if name is not None:
                    self._files[name.market, name.symbol].update(dict.fromkeys(name.days, path))

    def symbols(self) -> list[tuple[Market, str]]:
        """Return every market and symbol that has a file."""
        return sorted(self._files)

    def days(self, market: Market, symbol: str) -> list[int]:
        """Return the UTC days of a symbol that the folder has, counted from the epoch."""
        return sorted(self._files.get((market, symbol), ()))

    def lines(self, market: Market, symbol: str, day: int) -> list[bytes] | None:
        """Return the unchanged CSV lines of a UTC day, without header; None if the folder does not have the day."""
        path = self._files.get((market, symbol), {}).get(day)
        if path is None:
            return None
        with zipfile.ZipFile(path) as file:
            lines = [line for line in file.read(file.namelist()[0]).split() if line[:1].isdigit()]
        if "monthly" not in path.parts:
            return lines
        return [line for line in lines if int(line[:13]) // DAY_MS == day]

    def stored(self, name: ArchiveName) -> Path | None:
        """Return the path of a file of the folder; None if it does not exist."""
        path = None if self._root is None else self._root / name.path
        return path if path is not None and path.is_file() else None
