"""The simulated exchange that all sides load from: a process of its own, 150 ms per answer, weights enforced.

Belongs here: its start and end, its statistics, waiting for its minutes. Does not belong here: what is loaded.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import PROJECT, BenchmarkFailed
from market_data_pipeline.simulator.data.halts import halts_between

RTT_MS = 150
WEIGHT_PER_MINUTE = {"spot": 6000, "futures": 2400}
_MOST_ROWS_PER_WEIGHT = {"spot": (1000, 2), "futures": (499, 2)}
_MINUTE_S = 60
_MINUTES_A_DAY = 1440
# Requests beside the pages: clock, first and last kline, ccxt's list of markets.
_SIDE_WEIGHT = 60
_WARMED_AT_ONCE = 16


class Window:
    """Whole UTC days of BTC/USDT, or of another pair, on one market."""

    def __init__(self, market: str, start: str, days: int, pair: str = "BTC/USDT") -> None:
        self.market, self.pair, self.days = market, pair, days
        self.first = date.fromisoformat(start)

    @property
    def arguments(self) -> list[str]:
        """Options of `engine` and `naive`."""
        return ["--market", self.market, "--pair", self.pair, *self.bounds]

    @property
    def bounds(self) -> list[str]:
        """Options of `market-data backfill`."""
        return ["--start", self.first.isoformat(), "--end", (self.first + timedelta(self.days)).isoformat()]

    @property
    def minutes(self) -> int:
        return self.days * _MINUTES_A_DAY

    @property
    def rows(self) -> int:
        """Klines that the simulated exchange has of the window: on spot a halted minute has none."""
        if self.market != "spot":
            return self.minutes
        start = (self.first - date(1970, 1, 1)).days * _MINUTES_A_DAY
        end = start + self.minutes
        halted = halts_between("spot", start, end)
        return self.minutes - sum(min(halt.stop, end) - max(halt.start, start) for halt in halted)

    @property
    def least_weight(self) -> int:
        """The weight of its rows in the pages that have the most rows per weight."""
        rows, weight = _MOST_ROWS_PER_WEIGHT[self.market]
        return -(-self.rows // rows) * weight

    @property
    def naive_weight(self) -> int:
        """The weight of its rows in pages of 1000."""
        return -(-self.rows // 1000) * (2 if self.market == "spot" else 5)

    @property
    def floor_s(self) -> float:
        """The time in which the exchange's limit grants that weight."""
        return self.least_weight / WEIGHT_PER_MINUTE[self.market] * _MINUTE_S


class Exchange:
    """A running simulated exchange."""

    def __init__(self, url: str, process_id: int) -> None:
        self.url = url
        self._process_id = process_id

    def cpu_s(self) -> float:
        """The seconds of CPU that it has taken so far."""
        times = psutil.Process(self._process_id).cpu_times()
        return times.user + times.system

    def stats(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.get("/simulator/stats"))
        return content

    def await_room(self, market: str, weight: int) -> None:
        """Wait for the next minute if 95 % of the running one, our governor's share, have no room for the weight."""
        most = WEIGHT_PER_MINUTE[market] * 0.95
        # A load of more than a minute's budget wants a minute that nobody used yet.
        if self.stats()[market]["used_weight_1m"] + min(weight + _SIDE_WEIGHT, most) > most:
            self.await_minute()

    def await_minute(self) -> None:
        """Wait for the beginning of the exchange's next minute."""
        now_s = self.stats()["now_ms"] / 1000
        time.sleep(_MINUTE_S - now_s % _MINUTE_S + 0.05)

    def warm(self, window: Window) -> None:
        """Request the window's files of the archive, so that the exchange has made its klines; this costs no weight.

        It holds what was used last, so the newest come first: of a longer window than it can hold, a load from the
        first day on then finds as many made as fit.
        """
        market = "spot" if window.market == "spot" else "futures/um"
        token = window.pair.replace("/", "")
        days = (window.first + timedelta(day) for day in reversed(range(window.days)))
        paths = (f"/data/{market}/daily/klines/{token}/1m/{token}-1m-{day}.zip" for day in days)
        with ThreadPoolExecutor(_WARMED_AT_ONCE) as pool:
            for _ in pool.map(self.get, paths):
                pass

    @contextmanager
    def watched(self, market: str) -> Iterator[dict[str, int]]:
        """Fill the dictionary with what the block cost, by name; raise if any request was refused.

        `requests`, `weight` and `rows` are those of the market's REST, `files` the requests to the archive.
        """
        before, cost = self.stats(), dict[str, int]()
        yield cost
        after = self.stats()
        for status in ("429", "418"):
            if refused := after[market]["status"][status] - before[market]["status"][status]:
                raise BenchmarkFailed(f"{refused} answers were {status} on {market}")
        cost.update({name: after[market][name] - before[market][name] for name in ("requests", "weight", "rows")})
        cost["files"] = after["archive"]["requests"] - before["archive"]["requests"]

    def get(self, path: str) -> bytes:
        """The body of an answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=60) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def simulated_exchange(
    *, rtt_ms: int = RTT_MS, archive: Path | None = None, scenario: Path | None = None, host: str = "127.0.0.1"
) -> Iterator[Exchange]:
    """Start `market-data simulate` on a free port; it ends with the block."""
    command = [sys.executable, "-m", "market_data_pipeline", "simulate", "--port", "0", "--rtt-ms", str(rtt_ms)]
    options = {"--archive": archive, "--scenario": scenario, "--host": host}
    process = subprocess.Popen(
        [*command, *(text for name, path in options.items() if path for text in (name, str(path)))],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if not words:
            raise BenchmarkFailed("the simulated exchange did not start")
        exchange = Exchange(words[-1], process.pid)
        exchange.get("/api/v3/ping")
        yield exchange
    finally:
        process.terminate()
        process.wait()
