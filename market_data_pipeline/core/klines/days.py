"""Zones, local days, and instants: where the days of a dataset begin and end.

Belongs here: everything that turns local times and dates into UTC milliseconds and back; no other module of the package
computes with a time zone. Does not belong here: klines, files, Dagster's partitions (`defs.partitions`).
All instants are int milliseconds UTC; all windows are half-open.
"""

import re
import zoneinfo
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from market_data_pipeline.core.errors import UsageError

MINUTE_MS = 60_000
FIRST_DAY, LAST_DAY = date(1970, 1, 3), date(2199, 12, 30)
"""The days that a dataset can have. No exchange has klines of others, and they have midnights in every zone."""
FIRST_MS = int(datetime(1970, 1, 1, tzinfo=UTC).timestamp()) * 1000
LAST_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Debian has them among its zone files: the zone of this machine, which may be another tomorrow, and none at all.
_NO_ZONES = {"localtime", "Factory"}
_OFFSET = re.compile(r"([+-])(\d{1,2}):?(\d{2})")
_LOWEST_OFFSET = timedelta(hours=-12)
_HIGHEST_OFFSET = timedelta(hours=14)


@dataclass(frozen=True, slots=True)
class Zone:
    """An IANA zone or a fixed offset, with the one name it is stored under (`Europe/Zurich`, `+05:30`)."""

    name: str
    tzinfo: tzinfo = field(repr=False)

    @property
    def fixed_offset_minutes(self) -> int | None:
        """Minutes east of UTC if the zone is a fixed offset, None for an IANA zone."""
        if isinstance(self.tzinfo, timezone):
            return round(self.tzinfo.utcoffset(None).total_seconds() / 60)
        return None


@dataclass(frozen=True, slots=True)
class Day:
    """One local calendar day, `[start_ms, end_ms)`: 1440 minutes, more or fewer where the clocks change."""

    key: str
    start_ms: int
    end_ms: int

    @property
    def date(self) -> date:
        """The local calendar date."""
        return date.fromisoformat(self.key)

    @property
    def minutes(self) -> int:
        """How many minutes, and so klines, the day has."""
        return (self.end_ms - self.start_ms) // MINUTE_MS


def parse_zone(text: str) -> Zone:
    """The zone that `text` names: an IANA name, `UTC`, or a fixed offset `±HH:MM` between -12:00 and +14:00.

    Raises:
        UsageError: no such zone.
    """
    text = text.strip()
    if match := _OFFSET.fullmatch(text):
        return _fixed_zone(text, match)
    if text.upper() in {"UTC", "Z"}:
        return Zone("UTC", ZoneInfo("UTC"))
    try:
        zone = ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(_unknown_zone(text)) from None
    if not _spelled_as_listed(text):
        raise UsageError(_unknown_zone(text))
    return Zone(text, zone)


def _fixed_zone(text: str, match: re.Match[str]) -> Zone:
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    if int(minutes) > 59 or not _LOWEST_OFFSET <= offset <= _HIGHEST_OFFSET:
        raise UsageError(f"no such offset: {text!r}; give ±HH:MM between -12:00 and +14:00, or an IANA zone name")
    return Zone(f"{sign}{int(hours):02d}:{minutes}", timezone(offset))


def _spelled_as_listed(name: str) -> bool:
    """False for `europe/zurich`, which case-blind file systems open: one zone must have one name in the store."""
    return name in zone_names()


@cache
def zone_names() -> frozenset[str]:
    """The names of all IANA zones that this machine knows."""
    # Python looks through all zone files for this, 10 ms each time.
    return frozenset(zoneinfo.available_timezones()) - _NO_ZONES


def _unknown_zone(text: str) -> str:
    import difflib

    names = {name.lower(): name for name in zone_names()}
    near = [names[hit] for hit in difflib.get_close_matches(text.lower(), names, n=2)]
    hint = f"did you mean {' or '.join(near)}?" if near else "give an IANA name such as Europe/Zurich, or ±HH:MM"
    return f"no such time zone: {text!r}; {hint}"


# A load asks several times for each of its days.
@lru_cache(maxsize=4096)
def day_of(zone: Zone, on: date) -> Day:
    """The local day with the calendar date `on`."""
    return Day(on.isoformat(), _midnight_ms(zone, on), _midnight_ms(zone, on + timedelta(days=1)))


def day_at(zone: Zone, instant_ms: int) -> Day:
    """The local day that the instant falls on."""
    # Windows has no `fromtimestamp` before 1970 and after 3000.
    return day_of(zone, (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone.tzinfo).date())


def days_between(zone: Zone, start_ms: int, end_ms: int) -> list[Day]:
    """Every local day that `[start_ms, end_ms)` touches, in order."""
    if end_ms <= start_ms:
        return []
    on = day_at(zone, start_ms).date
    days, start = [], _midnight_ms(zone, on)
    while start < end_ms:
        following = on + timedelta(days=1)
        end = _midnight_ms(zone, following)
        days.append(Day(on.isoformat(), start, end))
        on, start = following, end
    return days


def _midnight_ms(zone: Zone, on: date) -> int:
    # A midnight that the clocks skip is read with the offset before the jump (PEP 495, fold=0), which is the instant
    # of the jump: the day then starts at 01:00. A midnight that comes twice starts the day at its first coming.
    return round(datetime.combine(on, time(0), tzinfo=zone.tzinfo).timestamp()) * 1000


def parse_instant(text: str, zone: Zone) -> int:
    """The instant that a date or ISO time names, as ms UTC, rounded up to a whole minute.

    A date is local midnight in `zone`; a time without offset is local time in `zone`.

    Raises:
        UsageError: not a date and not an ISO time.
    """
    text = text.strip()
    try:
        if len(text) <= len("2020-01-01"):
            return _within_calendar(zone, day_of(zone, date.fromisoformat(text)).start_ms)
        if text.isdecimal():  # Unix time, of which fromisoformat reads some as a date, a separator and a time
            raise ValueError
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone.tzinfo)
        return _within_calendar(zone, -(-round(moment.timestamp() * 1000) // MINUTE_MS) * MINUTE_MS)
    except (ValueError, OverflowError):
        raise UsageError(f"not a date or ISO time: {text[:80]!r}; write 2024-03-31 or 2024-03-31T12:00Z") from None


def _within_calendar(zone: Zone, instant_ms: int) -> int:
    """The instant, if its local day and those beside it have dates; else OverflowError or ValueError."""
    day = day_at(zone, instant_ms)
    day_at(zone, day.start_ms - MINUTE_MS), day_at(zone, day.end_ms)
    return instant_ms


def require_storable(on: date) -> None:
    """Refuse a day that no dataset can have.

    Raises:
        ValueError: it is before 1970 or after the 22nd century.
    """
    if not FIRST_DAY <= on <= LAST_DAY:
        raise ValueError(f"{on} is no day between {FIRST_DAY} and {LAST_DAY}")


def iso(instant_ms: int) -> str:
    """The instant as `2021-04-25T04:01Z`, with seconds only where there are any."""
    try:
        moment = _EPOCH + timedelta(milliseconds=instant_ms)
    except OverflowError:
        return f"{instant_ms} ms"
    spec = "minutes" if instant_ms % MINUTE_MS == 0 else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=spec) + "Z"
