"""How long one request is tried: a fault that lasts ends within a minute, a wait that the exchange announces is kept.

Belongs here: the time that a request has, and what of it its waits use up. Does not belong here: what a fault is
(`rest.faults`), sending (`rest.client`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from market_data_pipeline.core.counting.counts import WEIGHT_WAIT
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.governor import LONGEST_BAN_TO_WAIT_FOR_S
from market_data_pipeline.core.sources.rest.faults import Refusal

# What takes less was no wait: the budget has a lock.
_LEAST_WAIT_S = 0.1
# The first refusal by the firewall may be a passing one.
_MOST_REFUSALS = 2


@dataclass(slots=True)
class Tries:
    """The tries of one request.

    Attributes:
        market: the market that it is sent to.
        endpoint: what is requested.
        params: the request's parameters.
        until_s: when no further try begins, and the last one ends (monotonic).
        refusals: how often the exchange refused it.
        fault_s: when its first fault came (monotonic), 0 before.
    """

    market: Market
    endpoint: str
    params: Mapping[str, Any]
    until_s: float
    refusals: int = 0
    fault_s: float = 0
    _announced_s: float = 0
    _unannounced_s: float = 0
    _of_firewall: bool = False

    @property
    def request(self) -> str:
        """The request in words."""
        return " ".join([self.endpoint, *(f"{name}={value}" for name, value in self.params.items())])

    @property
    def is_of_listing(self) -> bool:
        """True for the list of pairs. It is not worth long waits, during which no klines may be requested either."""
        return self.endpoint == "exchangeInfo"

    def note(self, fault: Exception) -> None:
        """Count a fault."""
        self.fault_s = self.fault_s or time.monotonic()
        self._of_firewall = isinstance(fault, Refusal) and fault.of_firewall
        if isinstance(fault, Refusal):
            self.refusals += 1
            if fault.announced:
                self._announced_s += fault.wait_s
            else:
                self._unannounced_s = fault.wait_s

    def note_wait(self, seconds: float) -> None:
        """Count a wait for the budget and for the end of refusals, of which an unannounced one takes from the time."""
        if seconds >= _LEAST_WAIT_S:
            WEIGHT_WAIT.note(seconds, self.market.value)
        self.until_s += max(seconds - self._unannounced_s, 0)
        self._unannounced_s = 0

    def are_over(self, pause_s: float) -> bool:
        """True if the next try, after this pause, would begin too late."""
        begins_s = time.monotonic() + max(pause_s, self._unannounced_s)
        return begins_s >= self.until_s or self._announced_s > LONGEST_BAN_TO_WAIT_FOR_S

    def are_shut_out(self, answered_s: float) -> bool:
        """True if the exchange's firewall has refused the last try, and another one is not worth the wait.

        `answered_s` is when any request was answered last (monotonic), 0 if none was.
        """
        is_waited_out = answered_s and not self.is_of_listing
        return self._of_firewall and self.refusals >= _MOST_REFUSALS and not is_waited_out

    def deadline_s(self, longest_s: float) -> float:
        """How long the next try may take."""
        return max(min(longest_s, self.until_s - time.monotonic()), 0.1)
