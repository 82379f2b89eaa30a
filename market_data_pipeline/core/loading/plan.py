"""What a backfill has to do: which window is meant, and what each of its days needs.

Belongs here: decisions, made before the first page is asked for. Does not belong here: asking and writing (`backfill`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, intersect, merge
from market_data_pipeline.core.klines.dataset import HISTORY_START_MS
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, Zone, day_at, days_between, iso
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry

# The newest closed kline may be served some seconds late, and may still change.
SETTLING_MS = 3 * MINUTE_MS


class Outcome(StrEnum):
    """What became of a day."""

    LOADED = "loaded"
    UNCHANGED = "unchanged"
    NOT_LISTED = "not_listed"
    DELISTED = "delisted"
    OPEN = "open"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Task:
    """One day and the minutes to ask for; where there are none, `outcome` says why."""

    day: Day
    spans: tuple[Span, ...] = ()
    outcome: Outcome | None = None


def parse_window(*, start_ms: int | None, end_ms: int | None, now_ms: int, align_to: Iterable[Zone]) -> Span:
    """The window that a request means, in whole minutes, not reaching past the present day.

    Args:
        start_ms: first instant, None for the start of history.
        end_ms: end, exclusive, None for now.
        now_ms: the present.
        align_to: zones to whose midnights the window is widened, one after the other; none leaves it as it is.

    Raises:
        UsageError: the end is not after the start, or the start is in the future.
    """
    start = HISTORY_START_MS if start_ms is None else start_ms
    refuse_disorder(start, end_ms)
    if start > now_ms:
        raise UsageError(f"the start {iso(start)} is in the future; give an earlier --start")
    present = -(-now_ms // MINUTE_MS) * MINUTE_MS
    window = Span(start, present if end_ms is None else min(end_ms, present))
    for zone in align_to:
        last_ms = max(window.end_ms, start + MINUTE_MS) - MINUTE_MS
        window = Span(day_at(zone, window.start_ms).start_ms, day_at(zone, last_ms).end_ms)
    return window


def refuse_disorder(start_ms: int | None, end_ms: int | None) -> None:
    """Raise UsageError if the end is not after the start; needs no clock, so it can be said before any request."""
    start = HISTORY_START_MS if start_ms is None else start_ms
    if end_ms is not None and end_ms <= start:
        raise UsageError(f"the end {iso(end_ms)} is not after the start {iso(start)}; give a later --end")


def possible(window: Span, life: Life, now_ms: int) -> Span | None:
    """The part of the window in which the exchange can have closed klines; None if there is none."""
    end_ms = min(window.end_ms, now_ms // MINUTE_MS * MINUTE_MS)
    if life.last_open_ms is not None:
        end_ms = min(end_ms, life.last_open_ms + MINUTE_MS)
    start_ms = max(window.start_ms, life.first_open_ms)
    return Span(start_ms, end_ms) if start_ms < end_ms else None


def dataset_start(zone: Zone, life: Life, asked: Span | None = None) -> date:
    """The first day of a dataset: the later of the pair's first and of 2020-01-01T01:00Z, or earlier if asked."""
    history_ms = min(asked.start_ms, HISTORY_START_MS) if asked else HISTORY_START_MS
    return day_at(zone, max(life.first_open_ms, history_ms)).date


def settled_before(now_ms: int) -> int:
    """The minute before which every kline there will ever be is there, with its final values."""
    return (now_ms - SETTLING_MS) // MINUTE_MS * MINUTE_MS


def plan(store: DatasetStore, window: Span, life: Life, now_ms: int, *, refetch: bool) -> list[Task]:
    """A task for every day of the dataset that the window touches, in order."""
    days = days_between(store.dataset.zone, window.start_ms, window.end_ms)
    return [_task(store, day, window, life, now_ms, refetch=refetch) for day in days]


def _is_to_be_confirmed(entry: Entry, day: Day, now_ms: int) -> bool:
    """True if some klines of the day were read when the exchange might still have changed them, and now it will not."""
    return entry.was_read_live and day.end_ms <= settled_before(now_ms)


def _unsettled_of(absence: Absence) -> Span:
    """The absent minutes, and those before the open ones whose klines were read within moments of closing."""
    before_ms = SETTLING_MS if absence.kind is Kind.OPEN else 0
    return Span(absence.span.start_ms - before_ms, absence.span.end_ms)


def _task(store: DatasetStore, day: Day, window: Span, life: Life, now_ms: int, *, refetch: bool) -> Task:
    can_be = possible(Span(day.start_ms, day.end_ms), life, now_ms)
    if can_be is None:
        if day.end_ms <= life.first_open_ms:
            return Task(day, outcome=Outcome.NOT_LISTED)
        over = life.last_open_ms is not None and day.start_ms > life.last_open_ms
        return Task(day, outcome=Outcome.DELISTED if over else Outcome.OPEN)
    if not store.is_intact(day):
        # What was asked for earlier is lost with a damaged chunk, so it is asked for again.
        spans = intersect([can_be], [window, *store.dataset.requested])
    elif refetch or _is_to_be_confirmed(store.entries[day.key], day, now_ms):
        spans = intersect([can_be], [window])
    else:
        absences = store.entries[day.key].absences
        unsettled = merge(_unsettled_of(absence) for absence in absences if not absence.kind.is_final)
        # Also what was asked for by a run that was killed before it came here.
        spans = intersect([can_be], intersect([window, *store.dataset.requested], unsettled))
    if not spans and day.key not in store.entries:
        return Task(day, outcome=Outcome.NOT_LISTED if window.end_ms <= life.first_open_ms else Outcome.OPEN)
    return Task(day, tuple(spans), None if spans else Outcome.UNCHANGED)
