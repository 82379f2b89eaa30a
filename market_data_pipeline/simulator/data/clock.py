"""The clock of the exchange.

Belongs here: the simulated time (a start and a speed), and the time by which weight windows are counted.
Does not belong here: what depends on the time (klines in `history`, windows in `weights`).
"""

import time
from datetime import UTC, datetime

MINUTE_MS = 60_000
DAY_MS = 86_400_000
# A day in 0.1 s. Much faster, the clock soon leaves the years that a datetime has.
_FASTEST = 1_000_000


class SimulatedClock:
    """Real time, or a clock that starts at `now` and runs `speed` times as fast.

    At speed 0 it moves only by `advance`.
    """

    def __init__(self, now: datetime | None = None, speed: float = 1.0) -> None:
        """Start the clock; `now` must carry a time zone."""
        self.start(now, speed)

    def start(self, now: datetime | None, speed: float) -> None:
        """Start again, as a new clock would; `now` must carry a time zone."""
        if now is not None and now.tzinfo is None:
            raise ValueError(
                "the start of the simulated clock needs a time zone, for example 2024-05-01T12:00:00+00:00"
            )
        if not 0 <= speed <= _FASTEST:
            raise ValueError(f"the speed of the simulated clock must lie between 0 and {_FASTEST:,}, not {speed:g}")
        self.speed = speed
        self._start_ms = time.time() * 1000 if now is None else now.timestamp() * 1000
        self._started = time.monotonic()
        self._follows_host = now is None
        self._advanced_ms = 0.0

    def now_ms(self) -> int:
        """Return the simulated time, ms since the epoch."""
        if self._follows_host and self.speed == 1.0:
            return int(time.time() * 1000 + self._advanced_ms)
        return self._at_rate(self.speed)

    def window_ms(self) -> int:
        """Return the instant by which weight windows and bans are counted, ms since the epoch.

        Up to speed 1 this is the simulated time. On a faster clock the windows keep the length of a real minute, so a
        client may use as much weight per real minute as at the real exchange.
        """
        return self.now_ms() if self.speed <= 1.0 else self._at_rate(1.0)

    def now(self) -> datetime:
        """Return the simulated time as a datetime in UTC."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and the weight windows with it."""
        if seconds < 0:
            raise ValueError("the simulated clock only moves forward")
        self._advanced_ms += seconds * 1000

    def run_at(self, speed: float) -> None:
        """Go on from this instant at another speed; weight windows follow the same instant from here."""
        self._start_ms, self._advanced_ms, self._started = float(self.now_ms()), 0.0, time.monotonic()
        self._follows_host, self.speed = False, speed

    def _at_rate(self, rate: float) -> int:
        elapsed_ms = (time.monotonic() - self._started) * 1000
        return int(self._start_ms + elapsed_ms * rate + self._advanced_ms)
