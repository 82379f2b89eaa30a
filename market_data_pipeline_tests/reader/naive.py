"""Where bins begin, found by looking at the clock of each minute. Does not belong here: any assertion."""

from datetime import date, datetime
from functools import cache
from zoneinfo import ZoneInfo

ZONES = {
    "Europe/Zurich": ["2024-03-31", "2024-10-27"],
    "America/New_York": ["2024-03-10", "2024-11-03"],
    "Australia/Lord_Howe": ["2024-04-07", "2024-10-06"],
    "Asia/Kolkata": ["2024-05-05"],
}
INTERVALS = ["1m", "5m", "15m", "30m", "45m", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h", "1d", "1w", "1mo"]


@cache
def shown(tz: str, minute: int) -> tuple[date, int]:
    """What calendar and clock show there, the clock in minutes since midnight."""
    moment = datetime.fromtimestamp(minute * 60, ZoneInfo(tz))
    return moment.date(), moment.hour * 60 + moment.minute


def begins(interval: str, tz: str, minute: int) -> bool:
    """True if a bin begins with this minute since the epoch, found by looking at the clock and at it a minute ago."""
    (on, clock), (before, clock_before) = shown(tz, minute), shown(tz, minute - 1)
    if interval in {"1d", "1w", "1mo"}:
        return on != before and {"1d": True, "1w": on.isoweekday() == 1, "1mo": on.day == 1}[interval]
    length = int(interval[:-1]) * (60 if interval[-1] == "h" else 1)
    return on != before or clock % length == 0 or clock // length != clock_before // length
