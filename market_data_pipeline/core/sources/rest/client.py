"""Requests to the exchange: their weight is paid, they are sent, and sent again where that can help.

Belongs here: payment, retries and how long they go on, the exchange's clock. Does not belong here: which klines are
requested (`rest.klines`), what a response means (`rest.faults`, `rest.answers`), ccxt (`rest.ccxt_methods`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    wait_exponential_jitter,
)

from market_data_pipeline.core.errors import (
    BadAnswer,
    Banned,
    RegionBlocked,
    SourceError,
    SourceUnavailable,
)
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.budgets.budget import BudgetOf, budget_name
from market_data_pipeline.core.sources.governor import Governor
from market_data_pipeline.core.sources.rest import answers
from market_data_pipeline.core.sources.rest.answers import Listing
from market_data_pipeline.core.sources.rest.ccxt_methods import RawExchange
from market_data_pipeline.core.sources.rest.faults import Blocked, PassingFault, Refusal, WrongAnswer, fault_of
from market_data_pipeline.core.sources.rest.firewall import FIREWALL
from market_data_pipeline.core.sources.rest.listings import KEPT_S, Listings
from market_data_pipeline.core.sources.rest.tries import Tries
from market_data_pipeline.core.sources.retries import noted
from market_data_pipeline.core.sources.transport import NoResponse, ResponseTooLarge

T = TypeVar("T")

_log = logging.getLogger(__name__)

WEIGHT_PER_MINUTE = {Market.SPOT: 6000, Market.FUTURES: 2400}
IN_FLIGHT = 16
# In half a minute, 16 pages of klines come over a line of half a megabit.
DEADLINE_S = 30
# A fault that lasts for a minute is an error.
PATIENCE_S = 60
_TRIES = 8
_TIME_WEIGHT = 1
# Before the first response, a wrong address or a missing network is likelier than a passing fault.
_TRIES_BEFORE_FIRST_RESPONSE = 3
_MOST_CLOCK_BYTES = 4096
# A count so far above the limit is no count: the exchange bans an address before it gets there.
_MOST_USED = 10


class RestClient:
    """Requests to one market. Threads may share it."""

    def __init__(
        self,
        market: Market,
        *,
        budget_of: BudgetOf,
        base_url: str | None = None,
        public_url: str | None = None,
        extra_sleep_s: float = 0,
        deadline_s: float = DEADLINE_S,
        patience_s: float = PATIENCE_S,
        waits_for_weight: bool = True,
        connections: int = IN_FLIGHT,
    ) -> None:
        """Send no request yet.

        Args:
            market: the market.
            budget_of: gives the place of the weight budget.
            base_url: replaces the exchange's own address.
            public_url: used instead where the exchange's own address does not serve this location; None for none.
            extra_sleep_s: an additional wait before each request.
            deadline_s: how long one request may take.
            patience_s: how long faults are retried, requests included. The wait for the weight of a request, and one
                that the exchange announces, come on top.
            waits_for_weight: whether to wait for weight longer than `patience_s`.
            connections: how many connections are kept open.
        """
        self.market = market
        self.warnings: list[str] = []
        self.round_trip_s = 0.0
        """How long the last request for the exchange's clock took, in seconds."""
        self._public_url = public_url
        self._deadline_s, self._patience_s, self._waits_for_weight = deadline_s, patience_s, waits_for_weight
        self._raw = RawExchange(market, base_url=base_url, connections=connections)
        self.traffic = self._raw.traffic
        self._stopped = threading.Event()
        self._reached = False
        self.answered_s = 0.0
        """When the last answer came that could be used (monotonic), 0 before the first."""
        self._clock_lock = threading.RLock()
        self._clock_offset_s: float | None = None
        self._listings = Listings(self)
        self.governor = Governor(
            budget_name(urlsplit(self.address).netloc, market.value),
            budget_of,
            weight_per_minute=WEIGHT_PER_MINUTE[market],
            clock_s=self._now_s,
            extra_sleep_s=extra_sleep_s,
            warn=self.warnings.append,
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
        is_first = self._clock_offset_s is None
        weight = 0 if is_first else _TIME_WEIGHT
        server_ms = self.get("time", {}, weight, answers.server_time_ms, most_bytes=_MOST_CLOCK_BYTES)
        # Of the try that was answered: tries and waits before it would make the way longer than it was.
        sent_s, answered_s = self._raw.moments_s
        self._clock_offset_s, self.round_trip_s = server_ms / 1000 - (sent_s + answered_s) / 2, answered_s - sent_s
        if is_first:
            # Only now is the exchange's minute known, which the weight counts for.
            self.pay(_TIME_WEIGHT)

    def listing(self, token: str, *, paid: bool = True, kept_s: float = KEPT_S) -> Listing:
        """Return the pair's listing today; see `Listings.of`."""
        return self._listings.of(token, paid=paid, kept_s=kept_s)

    def get(
        self, endpoint: str, params: dict[str, Any], weight: int, read: Callable[[bytes], T], *, most_bytes: int
    ) -> T:
        """Request an endpoint, with retries, and return what `read` makes of the response's body.

        Args:
            endpoint: `klines`, `time` or `exchangeInfo`.
            params: the request's parameters.
            weight: the request's weight, 0 if it is paid with `pay`.
            read: reads the body. A `ValueError` or `WrongAnswer` of it is retried.
            most_bytes: the largest body that is accepted.

        Raises:
            PairNotListed: the market lists no such pair.
            PairNotServed: the market gives no klines of the pair in its present status.
            BadAnswer: `read` refused every response.
            SourceUnavailable: there is no response after all retries.
            SourceError: the same, though other requests were answered meanwhile; or the request itself is wrong.
        """
        if weight:
            self.now_ms()
        tries = Tries(self.market, endpoint, params, time.monotonic() + self._patience_s)
        retrying = Retrying(
            retry=retry_if_exception_type((PassingFault, WrongAnswer)),
            wait=wait_exponential_jitter(multiplier=0.5, max=20, jitter=0.5),
            stop=lambda state: self._is_last_try(tries, state),
            sleep=sleep_using_event(self._stopped),
            before_sleep=noted(_log, "rest"),
            reraise=True,
        )
        try:
            answer: T = retrying(self._once, tries, endpoint, params, weight, read, most_bytes)
            return answer
        except WrongAnswer as error:
            raise BadAnswer(f"{self.address} answered {tries.request} with {error}") from error
        except Refusal as error:
            if tries.are_shut_out(self.answered_s):
                is_lasting = not self.answered_s and not tries.is_of_listing
                raise FIREWALL.shut_out(self.address, is_lasting=is_lasting) from error
            raise Banned(
                f"{self.address} refuses requests from this IP address ({error}); wait, and stop other programs that "
                "use it from here"
            ) from error
        except PassingFault as error:
            what = f"no answer from {self.address}{self._raw.proxy_hint} to {tries.request}: {error}"
            if tries.fault_s < self.answered_s:
                raise SourceError(f"{what}; other requests were answered, so try again") from error
            raise SourceUnavailable(
                f"{what}; check the network (and MARKET_DATA_EXCHANGE_URL, if set), then try again"
            ) from error

    def pay(self, weight: int) -> None:
        """Pay for requests that were sent before the exchange's minute was known (`weight` 0 in `get`).

        Who does not wait for weight has their answers all the same; the next one tells what they took.
        """
        if self._waits_for_weight:
            self.governor.pay(weight, self._stopped)
            return
        with suppress(SourceUnavailable):
            self.governor.pay(weight, self._stopped, until_s=time.monotonic() + self._patience_s)

    def stop(self) -> None:
        """End all waiting. Requests in flight fail."""
        self._stopped.set()
        self._raw.close()

    def _once(
        self,
        tries: Tries,
        endpoint: str,
        params: dict[str, Any],
        weight: int,
        read: Callable[[bytes], T],
        most_bytes: int,
    ) -> T:
        minute = self._pay_for(tries, weight)
        if self._stopped.is_set():
            raise SourceUnavailable("the load was stopped")
        address, deadline_s = self.address, tries.deadline_s(self._deadline_s)
        try:
            response = self._raw.call(endpoint, params, most_bytes=most_bytes, deadline_s=deadline_s)
        except ResponseTooLarge as error:
            raise self._noted(tries, WrongAnswer(str(error))) from error
        except NoResponse as error:
            raise self._noted(tries, PassingFault(str(error))) from error
        self._reached = True
        if used := answers.used_weight(response.headers, _MOST_USED * WEIGHT_PER_MINUTE[self.market]):
            self.governor.settle(minute, used)
        wrong = ""
        if response.status == 200:
            try:
                answer = read(response.body)
            except (WrongAnswer, ValueError) as error:
                wrong = str(error)  # without its traceback, which would keep the rows in memory
            else:
                self.answered_s = time.monotonic()
                return answer
        fault = fault_of(response, market=self.market, address=address, now_s=self._now_s(), refusals=tries.refusals)
        if isinstance(fault, Blocked):
            fault = self._blocked(address)
        raise self._noted(tries, fault or WrongAnswer(wrong))

    def _pay_for(self, tries: Tries, weight: int) -> int:
        if not self.answered_s:
            FIREWALL.refuse(self.address)
        began_s, until_s = time.monotonic(), math.inf if self._waits_for_weight else tries.until_s
        minute = self.governor.pay(weight, self._stopped, until_s=until_s)
        tries.note_wait(time.monotonic() - began_s)
        return minute

    def _noted(self, tries: Tries, fault: Exception) -> Exception:
        """Count a fault; send nothing for as long as the exchange refuses requests."""
        tries.note(fault)
        if isinstance(fault, Refusal) and not tries.are_shut_out(self.answered_s):
            self.governor.close_for(fault.wait_s)
        return fault

    def _blocked(self, address: str) -> Exception:
        if self._public_url and address != self._public_url:
            if self.address != self._public_url:
                self.warnings.append(f"{address} does not serve this location (HTTP 451): used {self._public_url}")
                self._raw.redirect(self._public_url)
            return PassingFault("HTTP 451")
        return RegionBlocked(
            f"{address} does not serve this location (HTTP 451); run from a region that it serves, or set "
            "MARKET_DATA_EXCHANGE_URL to an address that serves you"
        )

    def _is_last_try(self, tries: Tries, state: RetryCallState) -> bool:
        most = _TRIES if self._reached else _TRIES_BEFORE_FIRST_RESPONSE
        is_over = state.attempt_number >= most or tries.are_over(state.upcoming_sleep)
        return is_over or self._stopped.is_set() or tries.are_shut_out(self.answered_s)

    def _now_s(self) -> float:
        return time.time() + (self._clock_offset_s or 0.0)
