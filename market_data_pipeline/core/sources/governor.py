"""The request-weight budget of one market on one host, shared by every process on this machine.

Belongs here: counting weight, waiting for it, and waiting out a ban. Does not belong here: what a request weighs
(`rest.klines`).

The exchange counts weight per IP address in fixed minutes of its own clock, and sends the count so far with each
response (`X-MBX-USED-WEIGHT-1M`). The budget is a small file under the data root, changed under a lock: each request is
paid before it is sent, the count is raised to the exchange's, and a new minute starts at zero. So a load may spend a
whole minute's budget at once, and no two processes spend it twice.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
"""

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from market_data_pipeline.core.errors import Banned, SourceUnavailable

MINUTE_S = 60
BUDGET_SHARE = 0.95
# The clocks agree to about half a round trip. A request sent this long after a minute begins is counted in it.
_TURN_MARGIN_S = 0.15
# A ban of a few minutes is waited out. A longer one is an error, because a program that waits for hours looks stuck.
LONGEST_BAN_TO_WAIT_FOR_S = 150
_FILE_BYTES = 160


@dataclass(slots=True)
class _Budget:
    minute: int = 0
    used: int = 0
    closed_until_s: float = 0.0


class Governor:
    """Pays for requests out of the shared budget. Safe to use from several threads and processes."""

    def __init__(
        self,
        path: Path,
        *,
        weight_per_minute: int,
        clock_s: Callable[[], float] = time.time,
        own_clock_s: Callable[[], float] = time.time,
        extra_sleep_s: float = 0,
    ) -> None:
        """Read and write nothing yet.

        Args:
            path: the budget's file.
            weight_per_minute: the exchange's limit.
            clock_s: the exchange's clock, in seconds.
            own_clock_s: this machine's clock, in seconds.
            extra_sleep_s: an additional wait before each request.
        """
        self.limit = math.floor(weight_per_minute * BUDGET_SHARE)
        self.spent = 0
        self._path = path
        self._clock_s = clock_s
        self._own_clock_s = own_clock_s
        self._extra_sleep_s = extra_sleep_s
        self._threads = threading.Lock()
        self._processes = FileLock(path.with_suffix(".lock"), thread_local=False)
        self._known = (0, 0)
        # In a new data root the file is created when a load begins (`open`). Until then the budget is kept here.
        self._own: _Budget | None = None if path.exists() else _Budget()

    def open(self) -> None:
        """Create the budget's file, with the weight spent so far."""
        with self._threads:
            own, self._own = self._own, None
        if own is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._budget() as budget:
                if budget.minute < own.minute:
                    budget.minute, budget.used = own.minute, 0
                budget.used += own.used
                budget.closed_until_s = max(budget.closed_until_s, own.closed_until_s)

    def pay(self, weight: int, stopped: threading.Event, *, until_s: float = math.inf) -> int:
        """Wait until the budget has room for `weight`, take it, and return the minute it was taken from.

        With weight 0, wait only until requests may be sent at all; the request for the clock is paid afterwards.
        Returns at once, without paying, when `stopped` is set.

        Raises:
            Banned: the exchange refuses requests for longer than is waited.
            SourceUnavailable: the wait would last until after `until_s` (monotonic).
        """
        if self._extra_sleep_s and weight:
            stopped.wait(self._extra_sleep_s)
        while not stopped.is_set():
            minute, wait_s = self._try(weight) if weight else self._is_open()
            if wait_s <= 0:
                return minute
            if time.monotonic() + wait_s > until_s:
                raise SourceUnavailable(f"no request weight is left here for the next {wait_s:.0f} s")
            stopped.wait(wait_s)
        return 0

    def settle(self, minute: int, used: int) -> None:
        """Raise the count to `used`, which the exchange sent in the response to a request paid in `minute`."""
        if (minute, used) <= self._known:
            return
        with self._budget() as budget:
            # Around the end of a minute it is unknown which minute the count is of. The next response has it again.
            if budget.minute == minute == self._minute():
                budget.used = max(budget.used, used)

    def close_for(self, seconds: float) -> None:
        """Let no process send a request for so many seconds, as the exchange demands (`Retry-After`).

        Raises:
            Banned: see `pay`.
        """
        with self._budget() as budget:
            # A duration, so it is kept by this machine's clock, which is known before the exchange's is.
            budget.closed_until_s = max(budget.closed_until_s, self._own_clock_s() + seconds)
        self._closed_s(budget)

    def used(self) -> int:
        """Return the weight used in the running minute, as far as known."""
        with self._budget() as budget:
            return budget.used if budget.minute == self._minute() else 0

    def closed_s(self) -> float:
        """For how many seconds more no request may be sent, because the exchange refuses them; 0 if it does not."""
        budget = self._own or self._read()[0]
        return max(0.0, budget.closed_until_s - self._own_clock_s())

    def try_to_pay(self, weight: int) -> bool:
        """Take `weight` for many requests at once, if the budget has room now; return whether it had.

        Raises:
            Banned: see `pay`.
        """
        return self._try(weight)[1] <= 0

    def _is_open(self) -> tuple[int, float]:
        # Without the lock, because the file is written in one piece and not changed here.
        budget = self._own or self._read()[0]
        return 0, self._closed_s(budget)

    def _try(self, weight: int) -> tuple[int, float]:
        with self._budget() as budget:
            now_s = self._clock_s()
            minute = int(now_s // MINUTE_S)
            if (closed_s := self._closed_s(budget)) > 0:
                return minute, closed_s
            if not minute <= budget.minute <= minute + 1:
                since_turn_s = now_s - minute * MINUTE_S
                if budget.used and budget.minute == minute - 1 and since_turn_s < _TURN_MARGIN_S:
                    return minute, _TURN_MARGIN_S - since_turn_s
                budget.minute, budget.used = minute, 0
            # A single request above the whole budget is sent alone, because no wait would make room for it.
            if budget.used and budget.used + weight > self.limit:
                return minute, (budget.minute + 1) * MINUTE_S + _TURN_MARGIN_S - now_s
            budget.used += weight
            self.spent += weight
            self._known = (minute, budget.used)
            return minute, 0

    def _closed_s(self, budget: _Budget) -> float:
        seconds = budget.closed_until_s - self._own_clock_s()
        if seconds > LONGEST_BAN_TO_WAIT_FOR_S:
            raise Banned(
                f"the exchange refuses requests from this IP address for {seconds:.0f} s more; wait, and stop other "
                "programs that use it from here"
            )
        return seconds

    def _minute(self) -> int:
        return int(self._clock_s() // MINUTE_S)

    @contextmanager
    def _budget(self) -> Iterator[_Budget]:
        """Lock the budget for this thread of this process; save it after the block if it changed."""
        with self._threads:
            if self._own is not None:
                yield self._own
                return
            with self._processes:
                budget, whole = self._read()
                before = replace(budget)
                yield budget
                if budget != before or not whole:
                    self._write(budget)

    def _read(self) -> tuple[_Budget, bool]:
        """The budget on disk, and whether it could be read."""
        try:
            read = _Budget(**json.loads(self._path.read_bytes()))
            return _Budget(int(read.minute), int(read.used), float(read.closed_until_s)), True
        except FileNotFoundError:
            return _Budget(), True
        except (ValueError, TypeError):
            # The weight spent in this minute is unknown, so take all of it for spent.
            return _Budget(minute=self._minute(), used=self.limit), False

    def _write(self, budget: _Budget) -> None:
        # One write of a fixed size, without truncating first: a process killed here leaves no empty file.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        try:
            os.write(file, json.dumps(asdict(budget)).ljust(_FILE_BYTES).encode())
        finally:
            os.close(file)


def budget_path(root: Path, host: str, market: str) -> Path:
    """Return the path of the budget's file: one per host and market, under the data root."""
    return root / ".governor" / f"{re.sub(r'[^A-Za-z0-9.-]', '_', host)}_{market}.json"
