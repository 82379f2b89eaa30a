"""The window of a load: which minutes a request means, and in which of them the exchange can have klines.

Belongs here: decisions from instants and a pair's life. Does not belong here: what each day of the window needs
(`plan`), text to instants (`klines.days`).
"""

from collections.abc import Iterable
from datetime import date

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span, subtract
from market_data_pipeline.core.klines.dataset import HISTORY_START_MS
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone, day_at, iso
from market_data_pipeline.core.sources.protocol import Life

# The exchange may serve the newest closed kline some seconds late, and may change it within the next minutes.
SETTLING_MS = 3 * MINUTE_MS


def parse_window(*, start_ms: int | None, end_ms: int | None, now_ms: int, align_to: Iterable[Zone]) -> Span:
    """The window of a request, in whole minutes, ending at the present at the latest.

    Args:
        start_ms: first instant, ms UTC; None for the start of history.
        end_ms: end, exclusive, ms UTC; None for the present.
        now_ms: the present, ms UTC.
        align_to: zones to whose midnights the window is widened, one after the other; none leaves it as it is.

    Raises:
        UsageError: the end is not after the start, or the start is in the future.
    """
    start = HISTORY_START_MS if start_ms is None else start_ms
    refuse_disorder(start, end_ms)
    if start > now_ms:
        raise UsageError(f"the start {iso(start)} is in the future; give an earlier start")
    present = -(-now_ms // MINUTE_MS) * MINUTE_MS
    window = Span(start, present if end_ms is None else min(end_ms, present))
    for zone in align_to:
        last_ms = max(window.end_ms, start + MINUTE_MS) - MINUTE_MS
        window = Span(day_at(zone, window.start_ms).start_ms, day_at(zone, last_ms).end_ms)
    return window


def refuse_disorder(start_ms: int | None, end_ms: int | None) -> None:
    """Check the order of a window's ends, which needs no clock and so no request.

    Raises:
        UsageError: the end is not after the start.
    """
    start = HISTORY_START_MS if start_ms is None else start_ms
    if end_ms is not None and end_ms <= start:
        raise UsageError(f"the end {iso(end_ms)} is not after the start {iso(start)}; give a later end")


def reachable(window: Span, life: Life, now_ms: int, zone: Zone) -> Span | None:
    """The minutes of the window of which the exchange can have closed klines at `now_ms`; None for no minute.

    For a paused pair they end with its last kline while the day of that kline, in `zone`, is not over, and then with
    that day, so that the day's absent minutes get their reason. Minutes between two pairs of a symbol may be among
    them, but not alone.
    """
    end_ms = min(window.end_ms, now_ms // MINUTE_MS * MINUTE_MS)
    if life.last_open_ms is not None:
        day_end_ms = day_at(zone, life.last_open_ms).end_ms
        is_over = not life.ended and day_end_ms <= settled_before(now_ms)
        end_ms = min(end_ms, day_end_ms if is_over else life.last_open_ms + MINUTE_MS)
    start_ms = max(window.start_ms, life.first_open_ms)
    if start_ms >= end_ms or (life.between and not subtract([Span(start_ms, end_ms)], [life.between])):
        return None
    return Span(start_ms, end_ms)


def settled_before(now_ms: int) -> int:
    """The end of the minutes whose klines are final at `now_ms`: no kline will be added or changed, ms UTC."""
    return (now_ms - SETTLING_MS) // MINUTE_MS * MINUTE_MS


def dataset_start(zone: Zone, life: Life, window: Span | None = None) -> date:
    """The first day of a dataset: the later of the pair's first day and of 2020-01-01T01:00Z, or of the window."""
    history_ms = min(window.start_ms, HISTORY_START_MS) if window else HISTORY_START_MS
    return day_at(zone, max(life.first_open_ms, history_ms)).date
