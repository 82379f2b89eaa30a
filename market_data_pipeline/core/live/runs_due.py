"""Which days of a live dataset need a run of their own, because a tick is too short for them.

Belongs here: the decision, from what is stored and the time, and the pauses between runs. Does not belong here:
starting the runs (`defs.sensors`, `app.live_dagster`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, day_at, day_of, days_between
from market_data_pipeline.core.live.dataset import LiveDataset
from market_data_pipeline.core.live.freshness import MOST_MINUTES
from market_data_pipeline.core.loading.window import SETTLING_MS
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry, State

_DAY_MS = 86_400_000
# Older days are left to backfill and verify.
_CHECKED_BACK_MS = 7 * _DAY_MS
# Ticks request the last minutes again, so a run that begins sooner would load them at the same time as a tick.
_CONFIRMED_AFTER_MS = SETTLING_MS + 2 * MINUTE_MS
# The archive publishes a file about nine hours after its UTC day (binance/binance-public-data#440).
_ARCHIVED_AFTER_MS = 10 * 3_600_000
_ARCHIVE_TRIED_FOR_MS = 3 * _DAY_MS


class Reason(StrEnum):
    """Why days need a run."""

    MISSING = "missing"
    """Klines of these days are not stored."""
    TO_CONFIRM = "to_confirm"
    """The days are over, and some of their klines were read within minutes of closing."""
    TO_ARCHIVE = "to_archive"
    """The archive should have published the days by now."""

    @property
    def pause_s(self) -> int:
        """Seconds between two runs for the same days and reason."""
        return {Reason.MISSING: 120, Reason.TO_CONFIRM: 3600, Reason.TO_ARCHIVE: 6 * 3600}[self]


@dataclass(frozen=True, slots=True)
class DueDays:
    """Days of a dataset, `first` to `last`, that one run should load, and the reason."""

    store: DatasetStore
    reason: Reason
    first: Day
    last: Day

    @property
    def refetch(self) -> bool:
        """True if the run should also request klines that are stored and final."""
        return self.reason is Reason.TO_ARCHIVE


class Pauses:
    """Pauses after runs, by what each run was for. A pause that is over is forgotten, as each day has others."""

    def __init__(self) -> None:
        self._until_s: dict[tuple[str, ...], float] = {}

    def begin(self, of: tuple[str, ...], lasts_s: float) -> None:
        """Begin a pause, or begin it again."""
        now_s = time.monotonic()
        self._until_s = {each: until_s for each, until_s in self._until_s.items() if until_s > now_s}
        self._until_s[of] = now_s + lasts_s

    def go_on(self, of: tuple[str, ...]) -> bool:
        """True until the pause is over."""
        return time.monotonic() < self._until_s.get(of, 0)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._until_s)


def due_days(live: LiveDataset, now_ms: int, *, archived: bool = True, first_day: date | None = None) -> list[DueDays]:
    """The days that need a run, at most one range for each reason, in the order of the runs; none if ticks are enough.

    Days that stay unexplained are due for a week, so while they pause the next ones have their turn.

    Args:
        live: the dataset.
        now_ms: the exchange's clock, ms UTC.
        archived: False leaves out `TO_ARCHIVE`, for sources without the archive.
        first_day: the first day that a run can load, None for any.
    """
    store, since_ms, zone = live.store, live.since_ms, live.store.dataset.zone
    today = day_at(zone, now_ms)
    first_ms = day_of(zone, first_day).start_ms if first_day else 0
    if first_ms > now_ms:
        return []
    if since_ms is None:
        return [DueDays(store, Reason.MISSING, today, today)]
    if not live.has_ended and now_ms - since_ms > MOST_MINUTES * MINUTE_MS:
        return [DueDays(store, Reason.MISSING, day_at(zone, max(since_ms, first_ms)), today)]
    if live.damaged and not store.is_intact(live.damaged):
        mended = day_at(zone, max(live.damaged.start_ms, first_ms))
        return [DueDays(store, Reason.MISSING, mended, mended)]
    days = days_between(zone, max(now_ms - _CHECKED_BACK_MS, first_ms), today.start_ms)
    checks: dict[Reason, Callable[[Day, Entry, int], bool]] = {Reason.TO_CONFIRM: _is_to_be_confirmed}
    if archived:
        checks[Reason.TO_ARCHIVE] = _is_to_be_archived
    found = []
    for reason, is_due in checks.items():
        due = [day for day in days if day.key in store.entries and is_due(day, store.entries[day.key], now_ms)]
        if due:
            found.append(DueDays(store, reason, due[0], due[-1]))
    return found


def _is_to_be_confirmed(day: Day, entry: Entry, now_ms: int) -> bool:
    """True for a day that is over and provisional, or has minutes that a run may still find."""
    has_gaps = any(not absence.kind.is_final and absence.kind is not Kind.NOT_REQUESTED for absence in entry.absences)
    return day.end_ms + _CONFIRMED_AFTER_MS <= now_ms and (entry.state is State.PROVISIONAL or has_gaps)


def _is_to_be_archived(day: Day, entry: Entry, now_ms: int) -> bool:
    """True while the archive may have published the day and the chunk is from REST alone."""
    published_ms = -(-day.end_ms // _DAY_MS) * _DAY_MS + _ARCHIVED_AFTER_MS
    # The archive may lack minutes of the day for good; the day then stays confirmed.
    return entry.state is State.CONFIRMED and published_ms <= now_ms < published_ms + _ARCHIVE_TRIED_FOR_MS
