"""The exchange's clock.

Belongs here: simulated time (a starting instant and a speed) and the time that weight windows follow.
Does not belong here: what the exchange does with time (klines in `history`, windows in `weights`).
"""

import time
from datetime import UTC, datetime

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class SimulatedClock:
    """Real time, or a clock that starts at `now` and runs `speed` times as fast.

    At speed 0 it stands still until it is advanced.
    """

    def __init__(self, now: datetime | None = None, speed: float = 1.0) -> None:
        """Start the clock; `now` must carry a time zone."""
        if now is not None and now.tzinfo is None:
            raise ValueError("the simulated now needs a time zone, for example 2024-05-01T12:00:00+00:00")
        if speed < 0:
            raise ValueError("the speed of the simulated clock cannot be negative")
        self.speed = speed
        self._start_ms = time.time() * 1000 if now is None else now.timestamp() * 1000
        self._started = time.monotonic()
        self._follows_host = now is None
        self._advanced_ms = 0.0

    def now_ms(self) -> int:
        """Return the simulated instant in milliseconds since the epoch."""
        if self._follows_host and self.speed == 1.0:
            return int(time.time() * 1000 + self._advanced_ms)
        return self._at_rate(self.speed)

    def window_ms(self) -> int:
        """Return the instant that weight windows and bans follow.

        It is the simulated clock up to speed 1. A faster clock does not refill the budget faster: windows then keep
        the length of a real minute, so a client's limiter meets the rate it would meet outside.
        """
        return self.now_ms() if self.speed <= 1.0 else self._at_rate(1.0)

    def now(self) -> datetime:
        """Return the simulated instant as an aware UTC datetime."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def advance(self, seconds: float) -> None:
        """Move the clock (and the weight windows with it) forward."""
        if seconds < 0:
            raise ValueError("the simulated clock only moves forward")
        self._advanced_ms += seconds * 1000

    def _at_rate(self, rate: float) -> int:
        elapsed_ms = (time.monotonic() - self._started) * 1000
        return int(self._start_ms + elapsed_ms * rate + self._advanced_ms)
