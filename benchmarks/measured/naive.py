"""The loop that users write: ccxt's `fetch_ohlcv` from `since`, page after page, then pandas and `to_parquet`.

Belongs here: that loop as it is commonly written, against the same exchange. Does not belong here: anything clever.
It keeps six of the twelve fields, checks nothing and cannot continue. Two things are done in its favour: it lists only
the market that is loaded (ccxt's default lists three), and it stops at the end of the window.
"""

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

import ccxt
import pandas as pd
import pyarrow.parquet  # noqa: F401  (imported lazily by pandas; here before the stopwatch)

from benchmarks.measured.arguments import load_parser
from benchmarks.measured.stopwatch import Stopwatch

_MINUTE_MS = 60_000
_COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


def main() -> None:
    options = _options()
    stopwatch = Stopwatch()
    exchange = _exchange(options.market, options.url)
    symbol = options.pair if options.market == "spot" else f"{options.pair}:USDT"
    since, end = _ms(options.start), _ms(options.end)
    rows: list[list[float]] = []
    while since < end:
        page = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=1000)
        if not page:
            break
        rows += page
        since = page[-1][0] + _MINUTE_MS
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame = frame[frame["timestamp"] < end]
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms", utc=True)
    file = options.root / "naive.parquet"
    frame.to_parquet(file)
    stopwatch.report(rows=len(frame), bytes=file.stat().st_size)


def _exchange(market: str, url: str) -> Any:
    kind = ccxt.binance if market == "spot" else ccxt.binanceusdm
    exchange = kind({"enableRateLimit": True})
    exchange.options["fetchMarkets"] = {"types": ["spot" if market == "spot" else "linear"]}
    exchange.urls["api"] = {**exchange.urls["api"], "public": f"{url}/api/v3", "fapiPublic": f"{url}/fapi/v1"}
    return exchange


def _ms(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp() * 1000)


def _options() -> argparse.Namespace:
    parser = load_parser(__doc__)
    parser.add_argument("--root", required=True, type=Path, help="folder of the Parquet file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
