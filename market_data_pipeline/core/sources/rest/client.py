"""One request to the exchange: its weight is paid, it is sent through ccxt, and retried where that can help.

Belongs here: HTTP status, headers, retries, the exchange's clock. Does not belong here: which klines are requested
(`rest.klines`), ccxt itself (`rest.ccxt_methods`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ccxt
from tenacity import (
    RetryCallState,
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    sleep_using_event,
    wait_exponential_jitter,
)

from market_data_pipeline.core.errors import (
    BadAnswer,
    PairNotListed,
    RegionBlocked,
    SourceError,
    SourceUnavailable,
)
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.governor import Governor, budget_path
from market_data_pipeline.core.sources.rest.ccxt_methods import RawExchange
from market_data_pipeline.core.sources.transport import NoResponse

T = TypeVar("T")

_log = logging.getLogger(__name__)

WEIGHT_PER_MINUTE = {Market.SPOT: 6000, Market.FUTURES: 2400}
IN_FLIGHT = 16
DEADLINE_S = 60
_TRIES = 8
_TIME_WEIGHT = 1
# Before the first response, a wrong address or a missing network is likelier than a passing fault.
_TRIES_BEFORE_FIRST_RESPONSE = 3
_RETRY_AFTER_S = {429: 5, 418: 120, 403: 60}
# Statuses of a pair that will never be traded again; a pair that is halted will be.
_ENDED = frozenset({"BREAK", "CLOSE", "SETTLING", "DELIVERING", "DELIVERED", "GONE"})


@dataclass(frozen=True, slots=True)
class Listing:
    """A pair's trading status, and the time of a futures contract's delivery (ms UTC; far in the future if none)."""

    status: str
    delivery_ms: int | None = None

    @property
    def has_ended(self) -> bool:
        """True if the pair will never be traded again."""
        return self.status in _ENDED


_GONE = Listing("GONE")


class WrongAnswer(Exception):
    """A response that does not have what was requested. Retried like a passing fault; the text has what it is."""


class _PassingFault(Exception):
    """A fault that a retry may not meet."""


class RestClient:
    """Requests to one market. Threads may share it."""

    def __init__(
        self,
        market: Market,
        *,
        root: Path,
        base_url: str | None = None,
        public_url: str | None = None,
        extra_sleep_s: float = 0,
        deadline_s: float = DEADLINE_S,
        patience_s: float = math.inf,
        connections: int = IN_FLIGHT,
    ) -> None:
        """Send no request yet.

        Args:
            market: the market.
            root: the data root, which has the file of the weight budget.
            base_url: replaces the exchange's own address.
            public_url: used instead where the exchange's own address does not serve this location; None for none.
            extra_sleep_s: an additional wait before each request.
            deadline_s: how long one request may take.
            patience_s: how long to wait for the budget and between retries, before the last try.
            connections: how many connections are kept open.
        """
        self.market = market
        self.warnings: list[str] = []
        self.round_trip_s = 0.0
        """How long the last request for the exchange's clock took, in seconds."""
        self._public_url = public_url
        self._patience_s = patience_s
        self._raw = RawExchange(market, base_url=base_url, deadline_s=deadline_s, connections=connections)
        self._stopped = threading.Event()
        self._reached = False
        self._clock_lock = threading.RLock()
        self._clock_offset_s: float | None = None
        self.governor = Governor(
            budget_path(root, urlsplit(self.address).netloc, market.value),
            weight_per_minute=WEIGHT_PER_MINUTE[market],
            clock_s=self._now_s,
            extra_sleep_s=extra_sleep_s,
        )

    @property
    def address(self) -> str:
        """The address that requests are sent to."""
        return self._raw.address

    def now_ms(self) -> int:
        """Return the exchange's clock, ms UTC. The first call requests it."""
        with self._clock_lock:
            if self._clock_offset_s is None:
                self._measure_clock()
        return round(self._now_s() * 1000)

    def set_clock(self) -> int:
        """Request the exchange's clock again, since this machine's may drift; return how far that is behind, ms."""
        with self._clock_lock:
            self._measure_clock()
            return round((self._clock_offset_s or 0.0) * 1000)

    def _measure_clock(self) -> None:
        sent_s = time.time()
        is_first = self._clock_offset_s is None
        server_ms = int(self.get("time", {}, 0 if is_first else _TIME_WEIGHT, lambda answer: answer["serverTime"]))
        answered_s = time.time()
        self._clock_offset_s, self.round_trip_s = server_ms / 1000 - (sent_s + answered_s) / 2, answered_s - sent_s
        if is_first:
            # Only now is the exchange's minute known, which the weight counts for.
            self.pay(_TIME_WEIGHT)

    def listing(self, token: str) -> Listing:
        """Return the pair's listing today."""
        by_symbol = {"symbol": token} if self.market is Market.SPOT else {}
        weight = 20 if self.market is Market.SPOT else 1

        def read(answer: Any) -> Listing:
            symbols = [symbol for symbol in answer["symbols"] if symbol["symbol"] == token]
            return Listing(str(symbols[0]["status"]), symbols[0].get("deliveryDate")) if symbols else _GONE

        try:
            return self.get("exchangeInfo", by_symbol, weight, read)
        except PairNotListed:
            return _GONE

    def get(self, endpoint: str, params: dict[str, Any], weight: int, read: Callable[[Any], T]) -> T:
        """Request an endpoint, with retries, and return what `read` makes of the response.

        Args:
            endpoint: `klines`, `time` or `exchangeInfo`.
            params: the request's parameters.
            weight: the request's weight, 0 if it is paid with `pay`.
            read: reads the response, JSON or text. A `WrongAnswer` of it is retried.

        Raises:
            PairNotListed: the market lists no such pair.
            BadAnswer: `read` refused every response.
            SourceUnavailable: there is no response after all retries.
        """
        if weight:
            self.now_ms()
        retrying = Retrying(
            retry=retry_if_exception_type((_PassingFault, WrongAnswer)),
            wait=wait_exponential_jitter(multiplier=0.5, max=20, jitter=0.5),
            stop=self._is_last_try,
            sleep=sleep_using_event(self._stopped),
            before_sleep=before_sleep_log(_log, logging.WARNING),
            reraise=True,
        )
        try:
            answer: T = retrying(self._once, endpoint, params, weight, read, time.monotonic() + self._patience_s)
            return answer
        except WrongAnswer as error:
            raise BadAnswer(f"{self.address} answered {_request_text(endpoint, params)} with {error}") from error
        except _PassingFault as error:
            raise SourceUnavailable(
                f"no answer from {self.address}{self._raw.proxy_hint} to {_request_text(endpoint, params)}: {error}; "
                "check the network (and MARKET_DATA_EXCHANGE_URL, if set), then run the same command again"
            ) from error

    def pay(self, weight: int) -> None:
        """Pay for requests that were sent before the exchange's minute was known (`weight` 0 in `get`)."""
        self.governor.pay(weight, self._stopped)

    def stop(self) -> None:
        """End all waiting. Requests in flight fail."""
        self._stopped.set()
        self._raw.close()

    def _once(self, endpoint: str, params: dict[str, Any], weight: int, read: Callable[[Any], T], until_s: float) -> T:
        minute = self.governor.pay(weight, self._stopped, until_s=until_s)
        if self._stopped.is_set():
            raise SourceUnavailable("the load was stopped")
        address = self.address
        try:
            answer = self._raw.call(endpoint, params)
        except (ccxt.BaseError, NoResponse) as error:
            raise self._fault(error, address) from error
        self._reached = True
        if used := self._raw.headers.get("X-MBX-USED-WEIGHT-1M"):
            self.governor.settle(minute, int(used))
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise WrongAnswer(f"something else ({type(error).__name__}: {error})") from error

    def _fault(self, error: Exception, address: str) -> Exception:
        """What to raise for an error: a fault to retry, or an error that retries cannot help."""
        status, text = self._raw.status, " ".join(str(error).split())[:200]
        self._reached = self._reached or status is not None
        if status is None:
            return _PassingFault(text)
        if status == 451:
            return self._blocked(address)
        if status in _RETRY_AFTER_S:
            return self._refused(status)
        if "-1121" in text:
            return PairNotListed(f"{self.address} lists no {self.market} pair with this name")
        if 400 <= status < 500:
            return SourceError(f"{self.address} refuses the request (HTTP {status}): {text}")
        return _PassingFault(f"HTTP {status}")

    def _blocked(self, address: str) -> Exception:
        if self._public_url and address != self._public_url:
            if self.address != self._public_url:
                self.warnings.append(f"{address} does not serve this location (HTTP 451): used {self._public_url}")
                self._raw.redirect(self._public_url)
            return _PassingFault("HTTP 451")
        return RegionBlocked(
            f"{address} does not serve this location (HTTP 451); run from a region that it serves, or set "
            "MARKET_DATA_EXCHANGE_URL to an address that serves you"
        )

    def _refused(self, status: int) -> Exception:
        seconds = float(self._raw.headers.get("Retry-After") or _RETRY_AFTER_S[status])
        self.governor.close_for(seconds)
        return _PassingFault(f"HTTP {status}, told to wait {seconds:.0f} s")

    def _is_last_try(self, state: RetryCallState) -> bool:
        tries = _TRIES if self._reached else _TRIES_BEFORE_FIRST_RESPONSE
        too_late = (state.seconds_since_start or 0) + state.upcoming_sleep > self._patience_s
        return too_late or self._stopped.is_set() or state.attempt_number >= tries

    def _now_s(self) -> float:
        return time.time() + (self._clock_offset_s or 0.0)


def _request_text(endpoint: str, params: dict[str, Any]) -> str:
    return " ".join([endpoint, *(f"{name}={value}" for name, value in params.items())])
