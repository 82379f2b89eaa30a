"""How long one request is tried: a fault that lasts ends within a minute, a wait that the exchange announces is kept.

Belongs here: the time that a request has, and what of it its waits use up. Does not belong here: what a fault is
(`rest.faults`), sending (`rest.client`).
"""

import time
from dataclasses import dataclass

from market_data_pipeline.core.sources.governor import LONGEST_BAN_TO_WAIT_FOR_S
from market_data_pipeline.core.sources.rest.faults import Refusal


@dataclass(slots=True)
class Tries:
    """The tries of one request.

    Attributes:
        until_s: when no further try begins, and the last one ends (monotonic).
        refusals: how often the exchange refused it.
        fault_s: when its first fault came (monotonic), 0 before.
    """

    until_s: float
    refusals: int = 0
    fault_s: float = 0
    _announced_s: float = 0
    _unannounced_s: float = 0

    def note(self, fault: Exception) -> None:
        """Count a fault."""
        self.fault_s = self.fault_s or time.monotonic()
        if isinstance(fault, Refusal):
            self.refusals += 1
            if fault.announced:
                self._announced_s += fault.wait_s
            else:
                self._unannounced_s = fault.wait_s

    def note_wait(self, seconds: float) -> None:
        """Count a wait for the budget and for the end of refusals, of which an unannounced one takes from the time."""
        self.until_s += max(seconds - self._unannounced_s, 0)
        self._unannounced_s = 0

    def are_over(self, pause_s: float) -> bool:
        """True if the next try, after this pause, would begin too late."""
        begins_s = time.monotonic() + max(pause_s, self._unannounced_s)
        return begins_s >= self.until_s or self._announced_s > LONGEST_BAN_TO_WAIT_FOR_S

    def deadline_s(self, longest_s: float) -> float:
        """How long the next try may take."""
        return max(min(longest_s, self.until_s - time.monotonic()), 0.1)
