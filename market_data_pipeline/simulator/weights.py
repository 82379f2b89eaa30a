"""Request weight: the cost of a request, and the refusal of clients that use too much.

Belongs here: costs, the fixed window of one minute for each IP address, when a 429 and when a ban is due.
Does not belong here: the responses themselves (`responses`).
"""

from dataclasses import dataclass
from typing import Any, Literal

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


class Weights:
    """The weight of one market. Each IP address has a limit of its own, which all clients behind it share."""

    def __init__(self, market: Market, clock: SimulatedClock, *, enforced: bool) -> None:
        """Start with nothing used."""
        self.limit = LIMITS[market]
        self._clock = clock
        self._enforced = enforced
        self._meters: dict[str, _Meter] = {}

    def charge(self, address: str, weight: int) -> Charge:
        """Count a request, and refuse it if its address is over the limit of the window or banned."""
        if address not in self._meters:
            self._meters[address] = _Meter(self.limit, self._clock, enforced=self._enforced)
        return self._meters[address].charge(weight)

    def as_dict(self) -> dict[str, Any]:
        """Return for JSON the limit, what the address with the most has used, and what each of them has."""
        addresses = {address: meter.as_dict() for address, meter in self._meters.items()}
        names = ("used_weight_1m", "peak_weight_1m")
        most = {name: max((each[name] for each in addresses.values()), default=0) for name in names}
        return most | {"weight_limit": self.limit, "addresses": addresses}


class _Meter:
    """Counts the weight of one address in windows that start at each full minute."""

    def __init__(self, limit: int, clock: SimulatedClock, *, enforced: bool) -> None:
        self._limit = limit
        self._total = 0
        self._all_refused = 0
        self._peak = 0
        self._clock = clock
        self._enforced = enforced
        self._window = 0
        self._used = 0
        self._refused = 0
        self._banned_until_ms = 0

    def charge(self, weight: int) -> Charge:
        charge = self._charge(weight)
        self._total += weight
        self._all_refused += charge.refusal is not None
        self._peak = max(self._peak, charge.used)
        return charge

    def _charge(self, weight: int) -> Charge:
        now_ms = self._clock.window_ms()
        self._open_window(now_ms)
        self._used += weight
        if not self._enforced:
            return Charge(self._used)
        if now_ms >= self._banned_until_ms:
            if self._used <= self._limit:
                return Charge(self._used)
            self._refused += 1
            if self._refused <= 1 + _REFUSALS_BEFORE_BAN:
                return Charge(self._used, 429, _seconds((self._window + 1) * MINUTE_MS - now_ms))
            self._banned_until_ms = now_ms + BAN_MS
        return Charge(self._used, 418, _seconds(self._banned_until_ms - now_ms), self._banned_until_ms)

    def as_dict(self) -> dict[str, int]:
        self._open_window(self._clock.window_ms())
        return {
            "weight": self._total,
            "refused": self._all_refused,
            "used_weight_1m": self._used,
            "peak_weight_1m": self._peak,
        }

    def _open_window(self, now_ms: int) -> None:
        if now_ms // MINUTE_MS != self._window:
            self._window = now_ms // MINUTE_MS
            self._used = 0
            self._refused = 0


def _seconds(duration_ms: int) -> int:
    return max(1, -(-duration_ms // 1000))
