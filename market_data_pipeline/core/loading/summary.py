"""What a load did, in one line.

Belongs here: counting days by what became of them, and why days have nothing to load. Does not belong here: where the
line is shown, the report of a backfill (`app.backfill`).
"""

from collections import Counter

from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.text import count_text


class Summary:
    """The days of one load or of several, counted."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._days = Counter[Outcome]()
        self._klines = 0

    def note(self, result: DayResult) -> None:
        """Count a day."""
        self._days[result.outcome] += 1
        if result.outcome is Outcome.LOADED and result.entry:
            self._klines += result.entry.rows

    def text(self, life: Life | None = None) -> str:
        """`3 days: 2 loaded, 1 delisted (ended, last kline 2024-05-28T02:59Z); 2,880 klines loaded`.

        Args:
            life: that of the pair, which says why days have nothing to load; None if they are of several pairs.
        """
        days = [_counted(outcome, self._days[outcome], life) for outcome in Outcome if self._days[outcome]]
        of_all = count_text(self._days.total(), "day")
        return f"{of_all}{': ' if days else ''}{', '.join(days)}; {count_text(self._klines, 'kline')} loaded"


def _counted(outcome: Outcome, count: int, life: Life | None) -> str:
    reason = _reason(outcome, life) if life else ""
    return f"{count:,} {outcome}" + (f" ({reason})" if reason else "")


def _reason(outcome: Outcome, life: Life) -> str:
    """Why such days have nothing to load; empty for those that have."""
    match outcome:
        case Outcome.NOT_LISTED:
            before = f"not listed before {iso(life.first_open_ms)}"
            return (
                f"{before}, nor {iso(life.between.start_ms)} to {iso(life.between.end_ms)}" if life.between else before
            )
        case Outcome.DELISTED if life.last_open_ms is not None:
            return f"ended, last kline {iso(life.last_open_ms)}"
        case Outcome.PAUSED if life.paused_ms is not None:
            return f"not traded since {iso(life.paused_ms)}"
        case Outcome.OPEN:
            return "no klines yet"
    return ""
