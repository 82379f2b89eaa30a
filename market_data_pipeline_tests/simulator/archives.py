"""How the tests name, read and write files of an archive."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, ms

_FOLDERS = {"spot": "spot", "futures": "futures/um"}


def path(market: str, symbol: str, period: str, suffix: str = "") -> str:
    span = "daily" if len(period) == 10 else "monthly"
    return f"/data/{_FOLDERS[market]}/{span}/klines/{symbol}/1m/{symbol}-1m-{period}.zip{suffix}"


def lines(packed: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        (name,) = file.namelist()
        return file.read(name).decode().splitlines()


def as_csv(row: list) -> str:
    return ",".join(str(value) for value in row)


def whole_day(client: ExchangeClient, market: str, symbol: str, day: str) -> list[list]:
    start = ms(day)
    noon, end = start + 720 * MINUTE, start + 1440 * MINUTE - 1
    first = client.klines(market, symbol, startTime=start, endTime=noon - 1, limit=1000)
    return first + client.klines(market, symbol, startTime=noon, endTime=end, limit=1000)


def small_zip(root: Path, market: str, symbol: str, period: str, text: str) -> None:
    file = root / path(market, symbol, period).lstrip("/")
    file.parent.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(file.name.replace(".zip", ".csv"), text)


@dataclass(frozen=True)
class Listed:
    """One file of a listing."""

    key: str
    modified: str
    size: int | None


@dataclass(frozen=True)
class Listing:
    """One page of a listing of the archive's bucket."""

    objects: list[Listed]
    folders: list[str]
    truncated: bool
    next_marker: str

    @property
    def keys(self) -> list[str]:
        return [found.key for found in self.objects]


def listing(
    client: ExchangeClient, prefix: str, *, delimiter: str = "/", marker: str = "", max_keys: str = ""
) -> Listing:
    """One page, as the URL of the real listing gets it."""
    asked = {"delimiter": delimiter, "prefix": prefix, "marker": marker, "max-keys": max_keys}
    answer = client.get("/data.binance.vision", **{name: text for name, text in asked.items() if text})
    assert answer.status_code == 200, answer.text
    root = ElementTree.fromstring(answer.content)
    objects = [_listed(element) for element in root.iterfind("{*}Contents")]
    folders = [element.findtext("{*}Prefix", "") for element in root.iterfind("{*}CommonPrefixes")]
    truncated = {"true": True, "false": False}[root.findtext("{*}IsTruncated", "")]
    return Listing(objects, folders, truncated, root.findtext("{*}NextMarker", ""))


def _listed(element: ElementTree.Element) -> Listed:
    size = element.findtext("{*}Size")
    key, modified = (element.findtext(f"{{*}}{name}", "") for name in ("Key", "LastModified"))
    return Listed(key, modified, None if size is None else int(size))


def days_listed(client: ExchangeClient, market: str, symbol: str, span: str = "daily") -> list[str]:
    """The periods of a pair that have a zip with its checksum in the listing, page by page."""
    folder = f"data/{_FOLDERS[market]}/{span}/klines/{symbol}/1m/"
    keys: list[str] = []
    marker = ""
    while True:
        page = listing(client, folder, marker=marker)
        keys += page.keys
        if not page.truncated:
            break
        marker = page.next_marker
    zips = [key for key in keys if key.endswith(".zip")]
    assert keys == [key for packed in zips for key in (packed, f"{packed}.CHECKSUM")]
    return [packed.removeprefix(f"{folder}{symbol}-1m-").removesuffix(".zip") for packed in zips]
