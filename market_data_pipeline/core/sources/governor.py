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
# The clocks agree to about half a round trip; a request sent this long after the turn is counted in the new minute.
_TURN_MARGIN_S = 0.15
# A few minutes pass by themselves; nobody wants a program that is silent for hours.
_LONGEST_BAN_TO_WAIT_FOR_S = 150
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
        """Nothing is read or written yet.

        Args:
            path: the budget's file.
            weight_per_minute: what the exchange allows.
            clock_s: the exchange's clock, in seconds.
            own_clock_s: this machine's clock, in seconds.
            extra_sleep_s: waited before each request, on top.
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
        # Until a load begins, a data root that is new is not touched and the budget is kept here.
        self._own: _Budget | None = None if path.exists() else _Budget()

    def open(self) -> None:
        """Let the budget's file be made, with what was spent so far."""
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

        Without weight, wait only until requests may be sent at all: for the one that asks for the clock, which is paid
        afterwards. Returns at once, without paying, when `stopped` is set.

        Raises:
            Banned: the exchange wants nothing from here for longer than waiting makes sense.
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
        """Take note that the exchange had counted `used` weight, answering a request paid in `minute`."""
        if (minute, used) <= self._known:
            return
        with self._budget() as budget:
            # Around the turn of the minute it is unknown which minute the count is of; the next answer will tell.
            if budget.minute == minute == self._minute():
                budget.used = max(budget.used, used)

    def close_for(self, seconds: float) -> None:
        """Let no process send anything for this long: the exchange said so (`Retry-After`).

        Raises:
            Banned: see `pay`.
        """
        with self._budget() as budget:
            # A duration, so it is kept by this machine's clock, which is known before the exchange's is.
            budget.closed_until_s = max(budget.closed_until_s, self._own_clock_s() + seconds)
        self._closed_s(budget)

    def used(self) -> int:
        """The weight used in the running minute, as far as known."""
        with self._budget() as budget:
            return budget.used if budget.minute == self._minute() else 0

    def try_to_pay(self, weight: int) -> bool:
        """Take `weight` for many requests at once, if the budget has room for it now.

        Raises:
            Banned: see `pay`.
        """
        return self._try(weight)[1] <= 0

    def _is_open(self) -> tuple[int, float]:
        # Read without the lock: it is written in one piece, and nothing is changed here.
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
            # A single request above the whole budget is let through alone: waiting would not make it cheaper.
            if budget.used and budget.used + weight > self.limit:
                return minute, (budget.minute + 1) * MINUTE_S + _TURN_MARGIN_S - now_s
            budget.used += weight
            self.spent += weight
            self._known = (minute, budget.used)
            return minute, 0

    def _closed_s(self, budget: _Budget) -> float:
        seconds = budget.closed_until_s - self._own_clock_s()
        if seconds > _LONGEST_BAN_TO_WAIT_FOR_S:
            raise Banned(
                f"the exchange refuses requests from this IP address for {seconds:.0f} s more; wait, and stop other "
                "programs that use it from here"
            )
        return seconds

    def _minute(self) -> int:
        return int(self._clock_s() // MINUTE_S)

    @contextmanager
    def _budget(self) -> Iterator[_Budget]:
        """The budget, for this thread of this process alone; what the block changes is kept."""
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
            # What was spent in this minute is unknown, so nothing of it is left.
            return _Budget(minute=self._minute(), used=self.limit), False

    def _write(self, budget: _Budget) -> None:
        # One write of a fixed size, without truncating first: a process killed here leaves no empty file.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        try:
            os.write(file, json.dumps(asdict(budget)).ljust(_FILE_BYTES).encode())
        finally:
            os.close(file)


def budget_path(root: Path, host: str, market: str) -> Path:
    """The budget's file: one per host and market, beside the datasets."""
    return root / ".governor" / f"{re.sub(r'[^A-Za-z0-9.-]', '_', host)}_{market}.json"
