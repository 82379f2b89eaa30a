"""Windows as users give them: instants in several spellings, and the minutes between two of them.

Belongs here: what an instant and a window mean. Does not belong here: which minutes are stored (`stored`), zones
(`core.klines.days`).
"""

import operator
from collections.abc import Callable
from datetime import date, datetime
from typing import SupportsIndex

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone, iso, parse_instant, parse_zone

_YEAR_10000_MS = 253_402_300_800_000
# As ms these are of 1970 to 1973, as seconds of 2001 and later.
_SECONDS = range(10**9, 10**11)

Instant = str | date | datetime | SupportsIndex | None
"""A date (local midnight), an ISO time, a `datetime` with a zone, or ms UTC; None for the first or last one stored.

A text without offset is local time. A `datetime` without a zone is refused.
"""


def instant_ms(instant: Instant, zone: Zone) -> int | None:
    """The instant, ms UTC, rounded up to a whole minute; None for None.

    Args:
        instant: as users give it.
        zone: the zone of dates and of texts without offset.

    Raises:
        UsageError: it is no instant.
    """
    if instant is None:
        return None
    if isinstance(instant, str):
        return parse_instant(instant, zone)
    if isinstance(instant, datetime) and instant.tzinfo is None:
        raise UsageError(f"{instant!r} has no zone; give it one, or write it as a text, which is local time")
    if isinstance(instant, date):
        return parse_instant(instant.isoformat(), zone)
    given_ms = _whole(instant)
    if given_ms is None or not 0 <= given_ms < _YEAR_10000_MS:
        shown = " ".join(repr(instant).split())[:100]
        raise UsageError(f"not an instant: {shown}; give a text, a date, a datetime with a zone, or ms UTC")
    if given_ms in _SECONDS:
        raise UsageError(f"{given_ms} can only be seconds; give ms UTC, {given_ms * 1000}")
    return -(-given_ms // MINUTE_MS) * MINUTE_MS


def _whole(value: object) -> int | None:
    """The whole number that it is, of Python or numpy; None if it is none. True and False are none."""
    try:
        return operator.index(value) if isinstance(value, SupportsIndex) and not isinstance(value, bool) else None
    except TypeError:  # of an array of several
        return None


def instant_text(instant: Instant) -> str | None:
    """The instant as a text that means the same in every zone, but for what is local time, which stays so.

    Raises:
        UsageError: it is no instant.
    """
    if instant is None or isinstance(instant, str):
        return instant
    if isinstance(instant, date) and not isinstance(instant, datetime):
        return instant.isoformat()
    given_ms = instant_ms(instant, parse_zone("UTC"))
    return None if given_ms is None else iso(given_ms)


def window_of(start: Instant, end: Instant, zone: Zone, extent: Callable[[], Span]) -> Span:
    """The minutes from `start` to `end`; `extent` gives those to use for an end that is None.

    Raises:
        UsageError: an end is no instant, or the end is before the start.
    """
    start_ms, end_ms = instant_ms(start, zone), instant_ms(end, zone)
    if start_ms is None or end_ms is None:
        stored = extent()
        if start_ms is None:
            start_ms = stored.start_ms if end_ms is None else min(stored.start_ms, end_ms)
        if end_ms is None:
            end_ms = max(stored.end_ms, start_ms)
    if end_ms < start_ms:
        raise UsageError(f"the end {iso(end_ms)} is before the start {iso(start_ms)}; give a later end")
    return Span(start_ms, end_ms)
