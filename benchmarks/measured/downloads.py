"""The loop that users write for data.binance.vision: a pool of threads, `requests`, `pandas.read_csv`, `pandas.concat`.

Belongs here: that loop as it is commonly written, against the same exchange. Does not belong here: anything clever.
It compares checksums, which many leave out (`--no-checksums`), but tries nothing twice, looks at no kline and writes
nothing. Only files with times in milliseconds are understood: all of futures, spot before 2025.
"""

import argparse
import hashlib
import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pandas as pd
import requests

from benchmarks.measured.arguments import load_parser
from benchmarks.measured.stopwatch import Stopwatch

_THREADS = 32
_FOLDERS = {"spot": "spot", "futures": "futures/um"}
_COLUMNS = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
]
_local = threading.local()


def main() -> None:
    options = _options()
    stopwatch = Stopwatch()
    token = options.pair.replace("/", "")
    folder = f"{options.url}/data/{_FOLDERS[options.market]}/daily/klines/{token}/1m"
    first, end = date.fromisoformat(options.start), date.fromisoformat(options.end)
    urls = [f"{folder}/{token}-1m-{first + timedelta(day)}.zip" for day in range((end - first).days)]
    with ThreadPoolExecutor(_THREADS) as pool:
        frames = list(pool.map(lambda url: _day(url, checksums=options.checksums), urls))
    frame = pd.concat(frames, ignore_index=True)
    stopwatch.report(rows=len(frame))


def _day(url: str, *, checksums: bool) -> pd.DataFrame:
    packed = _get(url)
    if checksums and hashlib.sha256(packed).hexdigest() != _get(f"{url}.CHECKSUM").split()[0].decode():
        raise SystemExit(f"the checksum of {url} is wrong")
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        content = file.read(file.namelist()[0])
    return pd.read_csv(io.BytesIO(content), names=_COLUMNS, header=None if content[:1].isdigit() else 0)


def _get(url: str) -> bytes:
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    answer = _local.session.get(url, timeout=60)
    answer.raise_for_status()
    return bytes(answer.content)


def _options() -> argparse.Namespace:
    parser = load_parser(__doc__)
    parser.add_argument("--no-checksums", dest="checksums", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    main()
