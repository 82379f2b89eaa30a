"""Which days of a live dataset need a run of their own, because a tick is too short for them.

Belongs here: the decision, from what is stored and the time. Does not belong here: starting the runs (`defs.sensors`,
`app.live`).
"""

from dataclasses import dataclass
from enum import StrEnum

from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import MINUTE_MS, Day, day_at, days_between
from market_data_pipeline.core.live.dataset import MOST_MINUTES, LiveDataset
from market_data_pipeline.core.live.freshness import since_ms
from market_data_pipeline.core.loading.window import SETTLING_MS
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry, State

_DAY_MS = 86_400_000
# Older days are a backfill's business, or verify's.
_LOOKED_BACK_MS = 7 * _DAY_MS
# Ticks read the last minutes again; only after them the day is nobody's but the run's.
_AFTER_CLOSE_MS = SETTLING_MS + 2 * MINUTE_MS
# Files are there nine hours after their UTC day at the latest, as a rule.
_ARCHIVED_AFTER_MS = 10 * 3_600_000
_ARCHIVE_GIVEN_UP_AFTER_MS = 3 * _DAY_MS


class Reason(StrEnum):
    """What is wrong with the days."""

    MISSING = "missing"
    """Their klines are not stored: nobody followed the dataset for a while."""
    TO_CONFIRM = "to_confirm"
    """They are over, and their klines were read within moments of closing."""
    TO_ARCHIVE = "to_archive"
    """The archive should have them by now."""

    @property
    def pause_s(self) -> int:
        """How long nobody tries again after a try that did not help."""
        return {Reason.MISSING: 120, Reason.TO_CONFIRM: 3600, Reason.TO_ARCHIVE: 6 * 3600}[self]


@dataclass(frozen=True, slots=True)
class DueDays:
    """Days of a dataset, from the first to the last, that one run should load; `refetch` if they are stored already."""

    store: DatasetStore
    reason: Reason
    first: Day
    last: Day

    @property
    def refetch(self) -> bool:
        """True if what is stored and sure is to be asked for, too."""
        return self.reason is Reason.TO_ARCHIVE


def due_days(live: LiveDataset, now_ms: int, *, archived: bool = True) -> DueDays | None:
    """What should be done first, None if a tick is all that the dataset needs; `archived` if the archive is of use."""
    store, start_ms = live.store, since_ms(live.store)
    today = day_at(store.dataset.zone, now_ms)
    if start_ms is None:
        return DueDays(store, Reason.MISSING, today, today)
    if not live.has_ended and now_ms - start_ms > MOST_MINUTES * MINUTE_MS:
        return DueDays(store, Reason.MISSING, day_at(store.dataset.zone, start_ms), today)
    if live.damaged and not store.is_intact(live.damaged):
        return DueDays(store, Reason.MISSING, live.damaged, live.damaged)
    days = days_between(store.dataset.zone, now_ms - _LOOKED_BACK_MS, today.start_ms)
    recent = [(day, store.entries[day.key]) for day in days if day.key in store.entries]
    for reason, is_due in ((Reason.TO_CONFIRM, _is_to_be_confirmed), (Reason.TO_ARCHIVE, _is_to_be_archived)):
        if reason is Reason.TO_ARCHIVE and not archived:
            break
        if found := [day for day, entry in recent if is_due(day, entry, now_ms)]:
            return DueDays(store, reason, found[0], found[-1])
    return None


def _is_to_be_confirmed(day: Day, entry: Entry, now_ms: int) -> bool:
    """Also a day of which something is missing: a run asks for it again."""
    lacks = any(not absence.kind.is_final and absence.kind is not Kind.NOT_REQUESTED for absence in entry.absences)
    return day.end_ms + _AFTER_CLOSE_MS <= now_ms and (entry.state is State.PROVISIONAL or lacks)


def _is_to_be_archived(day: Day, entry: Entry, now_ms: int) -> bool:
    published_ms = -(-day.end_ms // _DAY_MS) * _DAY_MS + _ARCHIVED_AFTER_MS
    # The archive may lack minutes for good, and such a day stays confirmed.
    return entry.state is State.CONFIRMED and published_ms <= now_ms < published_ms + _ARCHIVE_GIVEN_UP_AFTER_MS
