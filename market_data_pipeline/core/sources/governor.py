"""The request-weight budget of one market on one host, shared by every process of a user on this machine.

Belongs here: counting weight, waiting for it, and waiting out a ban. Does not belong here: what a request weighs
(`rest.klines`), the file that the processes share (`budget_file`).

The exchange counts weight per IP address in fixed minutes of its own clock, and sends the count so far with each
response (`X-MBX-USED-WEIGHT-1M`). The budget is a small file in the user's folder, changed under a lock: each request
is paid before it is sent, the count is raised to the exchange's, and a new minute starts at zero. So a load may spend a
whole minute's budget at once, and no two processes spend it twice, whatever their data roots are.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from market_data_pipeline.core.errors import Banned, SourceUnavailable
from market_data_pipeline.core.sources.budget_file import Budget, BudgetFile

MINUTE_S = 60
BUDGET_SHARE = 0.95
# The clocks agree to about half a round trip. A request sent this long after a minute begins is counted in it.
_TURN_MARGIN_S = 0.15
# A ban of a few minutes is waited out. A longer one is an error, because a program that waits for hours looks stuck.
LONGEST_BAN_TO_WAIT_FOR_S = 150
# The exchange bans for 3 days at most. What is longer is a damaged file, or the work of a clock that was wrong.
_LONGEST_BAN_S = 3 * 24 * 3600


def _ignore(_: str) -> None:
    """The default for warnings."""


class Governor:
    """Pays for requests out of the shared budget. Safe to use from several threads and processes."""

    def __init__(
        self,
        name: str,
        folders: Sequence[Path],
        *,
        weight_per_minute: int,
        clock_s: Callable[[], float] = time.time,
        own_clock_s: Callable[[], float] = time.time,
        extra_sleep_s: float = 0,
        warn: Callable[[str], None] = _ignore,
    ) -> None:
        """Read and write nothing yet.

        Args:
            name: the name of the budget's file.
            folders: where that file belongs, the best place first; see `BudgetFile`.
            weight_per_minute: the exchange's limit.
            clock_s: the exchange's clock, in seconds.
            own_clock_s: this machine's clock, in seconds.
            extra_sleep_s: an additional wait before each request.
            warn: called with one line if the file cannot be written.
        """
        self.limit = math.floor(weight_per_minute * BUDGET_SHARE)
        self.spent = 0
        self._clock_s = clock_s
        self._own_clock_s = own_clock_s
        self._extra_sleep_s = extra_sleep_s
        self._known = (0, 0)
        # The weight spent in this minute is unknown then, so all of it is taken for spent.
        self._file = BudgetFile(name, folders, lost=lambda: Budget(self._minute(), self.limit, 0.0), warn=warn)

    def open(self) -> None:
        """Create the budget's file, with the weight spent so far. Before that, nothing is written."""
        self._file.open()

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
        with self._file.changing() as budget:
            # Around the end of a minute it is unknown which minute the count is of. The next response has it again.
            if budget.minute == minute == self._minute():
                budget.used = max(budget.used, used)

    def close_for(self, seconds: float) -> None:
        """Let no process send a request for so many seconds, as the exchange demands (`Retry-After`).

        Raises:
            Banned: see `pay`.
        """
        with self._file.changing() as budget:
            # A duration, so it is kept by this machine's clock, which is known before the exchange's is.
            until_s = self._own_clock_s() + min(seconds, _LONGEST_BAN_S)
            budget.closed_until_s = max(budget.closed_until_s if self._closed_s_of(budget) else 0, until_s)
        self._closed_s(budget)

    def used(self) -> int:
        """Return the weight used in the running minute, as far as known."""
        with self._file.changing() as budget:
            return budget.used if budget.minute == self._minute() else 0

    def closed_s(self) -> float:
        """For how many seconds more no request may be sent, because the exchange refuses them; 0 if it does not."""
        return self._closed_s_of(self._file.look())

    def try_to_pay(self, weight: int) -> bool:
        """Take `weight` for many requests at once, if the budget has room now; return whether it had.

        Raises:
            Banned: see `pay`.
        """
        return self._try(weight)[1] <= 0

    def _is_open(self) -> tuple[int, float]:
        return 0, self._closed_s(self._file.look())

    def _try(self, weight: int) -> tuple[int, float]:
        with self._file.changing() as budget:
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

    def _closed_s_of(self, budget: Budget) -> float:
        seconds = budget.closed_until_s - self._own_clock_s()
        return seconds if 0 < seconds <= _LONGEST_BAN_S + MINUTE_S else 0.0

    def _closed_s(self, budget: Budget) -> float:
        """As `_closed_s_of`.

        Raises:
            Banned: see `pay`.
        """
        seconds = self._closed_s_of(budget)
        if seconds > LONGEST_BAN_TO_WAIT_FOR_S:
            raise Banned(
                f"the exchange refuses requests from this IP address for {seconds:.0f} s more; wait, and stop other "
                "programs that use it from here"
            )
        return seconds

    def _minute(self) -> int:
        return int(self._clock_s() // MINUTE_S)
