"""A breaker: whether a service that failed several times in a row is worth another request now.

Belongs here: counting failures, and the pause after them. Does not belong here: what a failure is, retries of one
request (`sources.archive`).
"""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after failures in a row, and lets one caller try again after each pause. Threads may share it."""

    def __init__(self, *, failures: int, pause_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Begin closed, with every request let through.

        Args:
            failures: how many in a row open it.
            pause_s: how long it stays open before one caller may try again.
            clock_s: a clock that never goes back, in seconds.
        """
        self._most, self._pause_s, self._clock_s = failures, pause_s, clock_s
        self._lock = threading.Lock()
        self._failures = 0
        self._next_try_s = 0.0

    @property
    def is_open(self) -> bool:
        """True after so many failures in a row, until the service answers."""
        return self._failures >= self._most

    def may_try(self) -> bool:
        """Whether to send a request now. Whoever sends one tells its result."""
        with self._lock:
            if not self.is_open:
                return True
            if self._clock_s() < self._next_try_s:
                return False
            # The others wait for the result of this caller; if it tells none, for another pause.
            self._next_try_s = self._clock_s() + self._pause_s
            return True

    def note_answer(self) -> None:
        """Tell that the service answered, whatever it said: the breaker closes."""
        with self._lock:
            self._failures = 0

    def note_failure(self) -> None:
        """Tell that a request failed after all its tries."""
        with self._lock:
            self._failures += 1
            self._next_try_s = self._clock_s() + self._pause_s
