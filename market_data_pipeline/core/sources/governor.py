"""The request-weight budget of one market on one host, shared by all who send from one address.

Belongs here: counting weight, waiting for it, and waiting out a ban. Does not belong here: what a request weighs
(`rest.klines`), where the budget is kept (`budgets`).

The exchange counts weight per IP address in fixed minutes of its own clock, and sends the count so far with each
response (`X-MBX-USED-WEIGHT-1M`). The budget is changed under a lock that all processes share: each request is paid
before it is sent, the count is raised to the exchange's, and a new minute starts at zero. So a load may spend a whole
minute's budget at once, and no two processes spend it twice, whatever their data roots are.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from market_data_pipeline.core.errors import Banned, BudgetUnavailable, SourceUnavailable
from market_data_pipeline.core.sources.budgets.budget import Budget, BudgetOf

MINUTE_S = 60
BUDGET_SHARE = 0.95
# The clocks agree to about half a round trip. A request sent this long after a minute begins is counted in it.
_TURN_MARGIN_S = 0.15
# A ban of a few minutes is waited out. A longer one is an error, because a program that waits for hours looks stuck.
LONGEST_BAN_TO_WAIT_FOR_S = 150
# The exchange bans for 3 days at most. What is longer is a damaged file, or the work of a clock that was wrong.
_LONGEST_BAN_S = 3 * 24 * 3600
# Between two tries to reach the budget.
_AGAIN_S = 1.0
_REFUSES = (
    "the exchange refuses requests from this IP address for {:.0f} s more; wait, and stop other programs that use it "
    "from here"
)
_NO_WEIGHT = "no request weight is left here for the next {:.0f} s"


def _ignore(_: str) -> None:
    """The default for warnings."""


class Governor:
    """Pays for requests out of the shared budget. Safe to use from several threads and processes."""

    def __init__(
        self,
        name: str,
        budget_of: BudgetOf,
        *,
        weight_per_minute: int,
        clock_s: Callable[[], float] = time.time,
        extra_sleep_s: float = 0,
        warn: Callable[[str], None] = _ignore,
    ) -> None:
        """Read and write nothing yet.

        Args:
            name: the name of the budget.
            budget_of: gives the place where it is kept.
            weight_per_minute: the exchange's limit.
            clock_s: the exchange's clock, in seconds.
            extra_sleep_s: an additional wait before each request.
            warn: called with one line if the place cannot be used.
        """
        self.limit = math.floor(weight_per_minute * BUDGET_SHARE)
        self.spent = 0
        self._clock_s = clock_s
        self._extra_sleep_s = extra_sleep_s
        self._counts = threading.Lock()
        self._known = (0, 0)
        self._untold_until_s = 0.0
        # The weight spent in this minute is unknown then, so all of it is taken for spent.
        self._budget = budget_of(name, lost=lambda: Budget(self._minute(), self.limit, 0.0), warn=warn)

    def open(self) -> None:
        """Share the budget from now on, with the weight spent so far. Before that, nothing is created."""
        self._budget.open()

    def pay(self, weight: int, stopped: threading.Event, *, until_s: float = math.inf) -> int:
        """Wait until the budget has room for `weight`, take it, and return the minute it was taken from.

        With weight 0, wait only until requests may be sent at all; the request for the clock is paid afterwards.
        Returns at once, without paying, when `stopped` is set.

        Raises:
            Banned: the exchange refuses requests for longer than is waited.
            BudgetUnavailable: the budget cannot be reached for longer than is waited.
            SourceUnavailable: the wait would last until after `until_s` (monotonic).
        """
        if self._extra_sleep_s and weight:
            stopped.wait(self._extra_sleep_s)
        unreached_s: float | None = None
        while not stopped.is_set():
            try:
                minute, wait_s = self._try(weight) if weight else self._is_open()
                unreached_s = None
            except BudgetUnavailable:
                unreached_s = unreached_s or time.monotonic()
                if time.monotonic() + _AGAIN_S > min(until_s, unreached_s + self._budget.patience_s):
                    raise
                wait_s = _AGAIN_S
            if wait_s <= 0:
                return minute
            if time.monotonic() + wait_s > until_s:
                raise SourceUnavailable((_REFUSES if self.closed_s() else _NO_WEIGHT).format(wait_s))
            stopped.wait(wait_s)
        return 0

    def settle(self, minute: int, used: int) -> None:
        """Raise the count to `used`, which the exchange sent in the response to a request paid in `minute`."""
        # Only of one minute: a clock that was put back has minutes that are earlier than those before.
        known_minute, known_used = self._known
        if minute == known_minute and used <= known_used:
            return
        with suppress(BudgetUnavailable):  # the next response has the count again
            budget = self._budget.look()
            if budget.minute == minute and budget.used < used:
                with self._changing() as budget:
                    # Around the end of a minute it is unknown which minute the count is of.
                    if budget.minute == minute == self._minute():
                        budget.used = max(budget.used, used)
            if budget.minute == minute:
                self._note(minute, budget.used)

    def close_for(self, seconds: float) -> None:
        """Let nobody who shares the budget send a request for so many seconds, as the exchange demands (`Retry-After`).

        Raises:
            Banned: see `pay`.
        """
        seconds = min(seconds, _LONGEST_BAN_S)
        with self._counts:
            self._untold_until_s = max(self._untold_until_s, time.monotonic() + seconds)
        # Where the budget cannot be reached nobody can pay from it, and the next payment of this process tells it.
        with suppress(BudgetUnavailable), self._changing() as budget:
            _close(budget, seconds)
            seconds = _closed_s(budget)
        _refuse_long_wait(seconds)

    def used(self) -> int:
        """Return the weight used in the running minute, as far as known."""
        minute, used = self._known
        with suppress(BudgetUnavailable):
            budget = self._budget.look()
            minute, used = budget.minute, budget.used
        return used if minute == self._minute() else 0

    def closed_s(self) -> float:
        """For how many seconds more no request may be sent, because the exchange refuses them; 0 if it does not."""
        with suppress(BudgetUnavailable):
            return self._closed_now_s()
        return self._untold_s()

    def try_to_pay(self, weight: int) -> bool:
        """Take `weight` for many requests at once, if the budget has room now; return whether it had.

        Raises:
            Banned, BudgetUnavailable: see `pay`.
        """
        return self._try(weight)[1] <= 0

    def _is_open(self) -> tuple[int, float]:
        return 0, _refuse_long_wait(self._closed_now_s())

    def _closed_now_s(self) -> float:
        return max(_closed_s(self._budget.look()), self._untold_s())

    def _untold_s(self) -> float:
        return max(self._untold_until_s - time.monotonic(), 0.0)

    def _try(self, weight: int) -> tuple[int, float]:
        """Take `weight` if there is room; the minute, and how long to wait if there is none."""
        with self._changing() as budget:
            closed_s = _closed_s(budget)
            minute, wait_s = (0, closed_s) if closed_s else self._take(budget, weight)
            used = budget.used
        if closed_s:
            _refuse_long_wait(closed_s)
        elif wait_s <= 0:
            with self._counts:
                self.spent += weight
            self._note(minute, used)
        return minute, wait_s

    def _take(self, budget: Budget, weight: int) -> tuple[int, float]:
        now_s = self._clock_s()
        minute = int(now_s // MINUTE_S)
        if not minute <= budget.minute <= minute + 1:
            since_turn_s = now_s - minute * MINUTE_S
            if budget.used and budget.minute == minute - 1 and since_turn_s < _TURN_MARGIN_S:
                return minute, _TURN_MARGIN_S - since_turn_s
            budget.minute, budget.used = minute, 0
        # A single request above the whole budget is sent alone, because no wait would make room for it.
        if budget.used and budget.used + weight > self.limit:
            return minute, (budget.minute + 1) * MINUTE_S + _TURN_MARGIN_S - now_s
        budget.used += weight
        return minute, 0.0

    @contextmanager
    def _changing(self) -> Iterator[Budget]:
        """The budget under its lock, closed for as long as only this process was told to."""
        untold_until_s = self._untold_until_s
        with self._budget.changing() as budget:
            if (seconds := untold_until_s - time.monotonic()) > 0:
                _close(budget, seconds)
            yield budget
        with self._counts:
            if self._untold_until_s == untold_until_s:
                self._untold_until_s = 0.0

    def _note(self, minute: int, used: int) -> None:
        with self._counts:
            known_minute, known_used = self._known
            self._known = minute, max(used, known_used if minute == known_minute else 0)

    def _minute(self) -> int:
        return int(self._clock_s() // MINUTE_S)


def _close(budget: Budget, seconds: float) -> None:
    believed_s = budget.closed_until_s if _closed_s(budget) else 0.0
    budget.closed_until_s = max(believed_s, budget.now_s + seconds)


def _closed_s(budget: Budget) -> float:
    seconds = budget.closed_until_s - budget.now_s
    return seconds if 0 < seconds <= _LONGEST_BAN_S + MINUTE_S else 0.0


def _refuse_long_wait(seconds: float) -> float:
    """Return the seconds.

    Raises:
        Banned: they are more than is waited.
    """
    if seconds > LONGEST_BAN_TO_WAIT_FOR_S:
        raise Banned(_REFUSES.format(seconds))
    return seconds
