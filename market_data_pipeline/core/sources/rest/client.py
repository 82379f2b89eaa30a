"""One request to the exchange: paid, sent through ccxt, retried while that can help, told apart when it cannot.

Belongs here: HTTP status, headers, retries, the exchange's clock. Does not belong here: what is asked (`rest`), ccxt
itself (`ccxt_raw`).
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

T = TypeVar("T")

_log = logging.getLogger(__name__)

WEIGHT_PER_MINUTE = {Market.SPOT: 6000, Market.FUTURES: 2400}
IN_FLIGHT = 16
TIMEOUT_S = 20
_TRIES = 8
_TIME_WEIGHT = 1
# Until the exchange has answered once, a wrong address or no network is likelier than a passing fault.
_TRIES_BEFORE_FIRST_ANSWER = 3


@dataclass(frozen=True, slots=True)
class Listing:
    """A pair's trading status, and for futures when the contract is delivered (ms UTC; far in the future if never)."""

    status: str
    delivery_ms: int | None = None

    @property
    def has_ended(self) -> bool:
        """True if the pair will never be traded again; a pair that is halted will be."""
        return self.status in {"BREAK", "CLOSE", "SETTLING", "DELIVERING", "DELIVERED", "GONE"}


_GONE = Listing("GONE")


class WrongAnswer(Exception):
    """An answer that cannot be what was asked; asked again like any passing fault."""


class _PassingFault(Exception):
    """A fault that may be gone in a moment."""


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
        timeout_s: float = TIMEOUT_S,
        patience_s: float = math.inf,
        connections: int = IN_FLIGHT,
    ) -> None:
        """Nothing is sent yet.

        Args:
            market: the market.
            root: the data root, where the weight budget lies.
            base_url: replaces the exchange's own address.
            public_url: where to go where that address does not serve this location, None for nowhere.
            extra_sleep_s: waited before each request, on top.
            timeout_s: how long an answer is waited for.
            patience_s: how long is waited before the last try, for the budget or for faults to pass.
            connections: how many requests may be under way.
        """
        self.market = market
        self.warnings: list[str] = []
        self.round_trip_s = 0.0
        """How long the exchange took to tell its clock when it was asked last."""
        self._public_url = public_url
        self._patience_s = patience_s
        self._raw = RawExchange(market, base_url=base_url, timeout_s=timeout_s, connections=connections)
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
        """Where requests go."""
        return self._raw.address

    def now_ms(self) -> int:
        """The exchange's clock; the first call asks for it."""
        with self._clock_lock:
            if self._clock_offset_s is None:
                self._measure_clock()
        return round(self._now_s() * 1000)

    def set_clock(self) -> int:
        """Ask for the exchange's clock anew, as this machine's may drift; return how far that one is behind, ms."""
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
            # Only now is it known which of the exchange's minutes this is.
            self.pay(_TIME_WEIGHT)

    def listing(self, token: str) -> Listing:
        """What the exchange says of the pair today."""
        by_symbol = {"symbol": token} if self.market is Market.SPOT else {}
        weight = 20 if self.market is Market.SPOT else 1

        def read(answer: Any) -> Listing:
            found = [symbol for symbol in answer["symbols"] if symbol["symbol"] == token]
            return Listing(str(found[0]["status"]), found[0].get("deliveryDate")) if found else _GONE

        try:
            return self.get("exchangeInfo", by_symbol, weight, read)
        except PairNotListed:
            return _GONE

    def get(self, endpoint: str, params: dict[str, Any], weight: int, read: Callable[[Any], T]) -> T:
        """The answer as `read` understands it, after as many tries as make sense.

        Raises:
            PairNotListed, BadAnswer, SourceUnavailable: see `core.errors`.
        """
        if weight:
            self.now_ms()
        retrying = Retrying(
            retry=retry_if_exception_type((_PassingFault, WrongAnswer)),
            wait=wait_exponential_jitter(multiplier=0.5, max=20, jitter=0.5),
            stop=self._is_enough,
            sleep=sleep_using_event(self._stopped),
            before_sleep=before_sleep_log(_log, logging.WARNING),
            reraise=True,
        )
        try:
            answer: T = retrying(self._once, endpoint, params, weight, read, time.monotonic() + self._patience_s)
            return answer
        except WrongAnswer as error:
            raise BadAnswer(f"{self.address} answered {_described(endpoint, params)} with {error}") from error
        except _PassingFault as error:
            raise SourceUnavailable(
                f"no answer from {self.address}{self._raw.way.remark} to {_described(endpoint, params)}: {error}; "
                "check the network (and MARKET_DATA_EXCHANGE_URL, if set), then run the same command again"
            ) from error

    def pay(self, weight: int) -> None:
        """Pay for requests that were sent before it was known which minute they belong to (`weight` 0 in `get`)."""
        self.governor.pay(weight, self._stopped)

    def stop(self) -> None:
        """End all waiting; requests under way end with their own timeout."""
        self._stopped.set()
        self._raw.close()

    def _once(self, endpoint: str, params: dict[str, Any], weight: int, read: Callable[[Any], T], until_s: float) -> T:
        minute = self.governor.pay(weight, self._stopped, until_s=until_s)
        if self._stopped.is_set():
            raise SourceUnavailable("the load was stopped")
        address = self.address
        try:
            answer = self._raw.call(endpoint, params)
        except ccxt.BaseError as error:
            raise self._told_apart(error, address) from error
        self._reached = True
        if used := self._raw.headers.get("X-MBX-USED-WEIGHT-1M"):
            self.governor.settle(minute, int(used))
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise WrongAnswer(f"something else ({type(error).__name__}: {error})") from error

    def _told_apart(self, error: ccxt.BaseError, address: str) -> Exception:
        status, said = self._raw.status, " ".join(str(error).split())[:200]
        self._reached = self._reached or status is not None
        if status == 451:
            return self._blocked(address)
        if status in {429, 418, 403}:
            return self._told_to_wait(status)
        if "-1121" in said:
            return PairNotListed(f"{self.address} lists no {self.market} pair with this name")
        if status is not None and 400 <= status < 500:
            return SourceError(f"{self.address} refuses the request (HTTP {status}): {said}")
        return _PassingFault(f"HTTP {status}" if status else _innermost(error))

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

    def _told_to_wait(self, status: int) -> Exception:
        seconds = float(self._raw.headers.get("Retry-After") or {429: 5, 418: 120, 403: 60}[status])
        self.governor.close_for(seconds)
        return _PassingFault(f"HTTP {status}, told to wait {seconds:.0f} s")

    def _is_enough(self, state: RetryCallState) -> bool:
        tries = _TRIES if self._reached else _TRIES_BEFORE_FIRST_ANSWER
        too_late = (state.seconds_since_start or 0) + state.upcoming_sleep > self._patience_s
        return too_late or self._stopped.is_set() or state.attempt_number >= tries

    def _now_s(self) -> float:
        return time.time() + (self._clock_offset_s or 0.0)


def _innermost(error: BaseException) -> str:
    """What happened at the bottom, `Connection refused`, not how many layers passed it on."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    said = " ".join(str(getattr(error, "strerror", None) or error).split())
    return said or type(error).__name__


def _described(endpoint: str, params: dict[str, Any]) -> str:
    return " ".join([endpoint, *(f"{name}={value}" for name, value in params.items())])
