"""Request weight: the cost of a request, and the refusal of clients that use too much.

Belongs here: costs, the fixed window of one minute, when a 429 and when a ban is due.
Does not belong here: the responses themselves (`responses`).
"""

from dataclasses import dataclass
from typing import Literal

from market_data_pipeline.simulator.data.clock import MINUTE_MS, SimulatedClock
from market_data_pipeline.simulator.data.pairs import Market

LIMITS: dict[Market, int] = {"spot": 6_000, "futures": 2_400}
BAN_MS = 120_000
# After the first 429 of a window so many more requests are refused; the next one is banned.
_REFUSALS_BEFORE_BAN = 10


@dataclass(frozen=True, slots=True)
class Charge:
    """The weight used in the window after one request, and the status of its refusal if it is refused."""

    used: int
    refusal: Literal[429, 418] | None = None
    retry_after_s: int = 0
    banned_until_ms: int = 0


def request_weight(market: Market, endpoint: str, limit: int) -> int:
    """Return the weight of a request; `limit` is that of a klines request."""
    if market == "spot":
        return {"klines": 2, "exchangeInfo": 20}.get(endpoint, 1)
    if endpoint != "klines":
        return 1
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


class WeightMeter:
    """Counts one market's weight in windows that start at each full minute. All clients count as one IP address."""

    def __init__(self, market: Market, clock: SimulatedClock, *, enforced: bool) -> None:
        """Start with nothing used."""
        self.limit = LIMITS[market]
        self.peak = 0
        self._clock = clock
        self._enforced = enforced
        self._window = 0
        self._used = 0
        self._refused = 0
        self._banned_until_ms = 0

    def charge(self, weight: int) -> Charge:
        """Count a request, and refuse it if the limit of the window is exceeded or the client is banned."""
        now_ms = self._clock.window_ms()
        self._open_window(now_ms)
        self._used += weight
        self.peak = max(self.peak, self._used)
        if not self._enforced:
            return Charge(self._used)
        if now_ms >= self._banned_until_ms:
            if self._used <= self.limit:
                return Charge(self._used)
            self._refused += 1
            if self._refused <= 1 + _REFUSALS_BEFORE_BAN:
                return Charge(self._used, 429, _seconds((self._window + 1) * MINUTE_MS - now_ms))
            self._banned_until_ms = now_ms + BAN_MS
        return Charge(self._used, 418, _seconds(self._banned_until_ms - now_ms), self._banned_until_ms)

    @property
    def used(self) -> int:
        """Return the weight used in the current window."""
        self._open_window(self._clock.window_ms())
        return self._used

    def _open_window(self, now_ms: int) -> None:
        if now_ms // MINUTE_MS != self._window:
            self._window = now_ms // MINUTE_MS
            self._used = 0
            self._refused = 0


def _seconds(duration_ms: int) -> int:
    return max(1, -(-duration_ms // 1000))
