"""The request-weight budget of one market on one host, shared by every process on this machine.

Belongs here: counting, waiting, obeying. Does not belong here: what a request weighs (`rest`).

The exchange counts weight per IP address in fixed minutes of its own clock, and tells the count so far in each answer
(`X-MBX-USED-WEIGHT-1M`). The budget is a small file under the data root, changed under a lock: each request is paid
before it is sent, the count is raised to what the exchange says, and a new minute starts at zero. So a load may spend
a whole minute's budget at once, and no two processes spend it twice.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

MINUTE_S = 60
BUDGET_SHARE = 0.95
# The clocks agree to about half a round trip; a request sent this long after the turn is counted in the new minute.
_TURN_MARGIN_S = 0.15


@dataclass(slots=True)
class _Budget:
    minute: int = 0
    used: int = 0
    closed_until_s: float = 0.0


class Governor:
    """Pays for requests out of the shared budget. Safe to use from several threads and processes."""

    def __init__(
        self, path: Path, *, weight_per_minute: int, clock_s: Callable[[], float] = time.time, extra_sleep_s: float = 0
    ) -> None:
        """`clock_s` is the exchange's clock in seconds; `extra_sleep_s` is waited before each request on top."""
        self.limit = math.floor(weight_per_minute * BUDGET_SHARE)
        self.spent = 0
        self._path = path
        self._clock_s = clock_s
        self._extra_sleep_s = extra_sleep_s
        self._threads = threading.Lock()
        self._processes = FileLock(path.with_suffix(".lock"), thread_local=False)
        self._known = (0, 0)
        self._opened = path.exists()
        self._unpaid = 0

    def open(self) -> None:
        """Let the budget's file be written; until then a new data root is not touched, and what is spent is owed."""
        with self._threads:
            if not self._opened:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._opened = True
                with self._processes:
                    budget = self._read()
                    if budget.minute < self._minute():
                        budget.minute, budget.used = self._minute(), 0
                    budget.used += self._unpaid
                    self._write(budget)

    def pay(self, weight: int, stopped: threading.Event) -> int:
        """Wait until the budget has room for `weight`, take it, and return the minute it was taken from.

        Returns at once, without paying, when `stopped` is set.
        """
        if self._extra_sleep_s:
            stopped.wait(self._extra_sleep_s)
        while not stopped.is_set():
            with self._threads:
                minute, wait_s = self._try(weight)
            if wait_s <= 0:
                return minute
            stopped.wait(wait_s)
        return 0

    def settle(self, minute: int, used: int) -> None:
        """Take note that the exchange had counted `used` weight, answering a request paid in `minute`."""
        if not self._opened or (minute, used) <= self._known:
            return
        with self._threads, self._processes:
            budget = self._read()
            # Around the turn of the minute it is unknown which minute the count is of; the next answer will tell.
            if budget.minute == minute == self._minute() and used > budget.used:
                budget.used = used
                self._write(budget)

    def close_for(self, seconds: float) -> None:
        """Let no process send anything for this long: the exchange said so (`Retry-After`)."""
        self.open()
        with self._threads, self._processes:
            budget = self._read()
            budget.closed_until_s = max(budget.closed_until_s, self._clock_s() + seconds)
            self._write(budget)

    def used(self) -> int:
        """The weight used in the running minute, as far as known."""
        if not self._opened:
            return self._unpaid
        with self._threads, self._processes:
            budget = self._read()
        return budget.used if budget.minute == self._minute() else 0

    def _try(self, weight: int) -> tuple[int, float]:
        if not self._opened:
            self._unpaid += weight
            self.spent += weight
            return self._minute(), 0
        with self._processes:
            budget, now_s = self._read(), self._clock_s()
            minute = int(now_s // MINUTE_S)
            if now_s < budget.closed_until_s:
                return minute, budget.closed_until_s - now_s
            if minute > budget.minute:
                if budget.used and (early_s := minute * MINUTE_S + _TURN_MARGIN_S - now_s) > 0:
                    return minute, early_s
                budget.minute, budget.used = minute, 0
            # A single request above the whole budget is let through alone: waiting would not make it cheaper.
            if budget.used and budget.used + weight > self.limit:
                self._write(budget)
                return minute, (budget.minute + 1) * MINUTE_S + _TURN_MARGIN_S - now_s
            budget.used += weight
            self.spent += weight
            self._known = (minute, budget.used)
            self._write(budget)
            return minute, 0

    def _minute(self) -> int:
        return int(self._clock_s() // MINUTE_S)

    def _read(self) -> _Budget:
        try:
            read = _Budget(**json.loads(self._path.read_bytes()))
            return _Budget(int(read.minute), int(read.used), float(read.closed_until_s))
        except FileNotFoundError:
            return _Budget()
        except (ValueError, TypeError):
            # A writer was killed in the middle: what was spent in this minute is unknown, so nothing of it is left.
            return _Budget(minute=self._minute(), used=self.limit)

    def _write(self, budget: _Budget) -> None:
        self._path.write_text(json.dumps(asdict(budget)), encoding="ascii")


def budget_path(root: Path, host: str, market: str) -> Path:
    """The budget's file: one per host and market, beside the datasets."""
    return root / ".governor" / f"{re.sub(r'[^A-Za-z0-9.-]', '_', host)}_{market}.json"
