"""The plan of a load: what each day of a window needs, decided before the first kline is requested.

Belongs here: the planned load, its days and their outcomes. Does not belong here: which minutes a request means
(`window`), requesting and writing (`load_days`).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, intersect, merge, subtract
from market_data_pipeline.core.klines.days import Day, day_at, days_between
from market_data_pipeline.core.loading.window import SETTLING_MS, dataset_start, reachable, settled_before
from market_data_pipeline.core.sources.protocol import KlineSource, Life
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry

_OF_LIFE = {Kind.NOT_LISTED, Kind.DELISTED}


class Outcome(StrEnum):
    """What became of a day."""

    LOADED = "loaded"
    UNCHANGED = "unchanged"
    NOT_LISTED = "not_listed"
    DELISTED = "delisted"
    PAUSED = "paused"
    OPEN = "open"
    FAILED = "failed"

    @property
    def is_recorded(self) -> bool:
        """True if Dagster shows such a day as materialized. A day without a chunk that may still get one is not."""
        return self not in {Outcome.OPEN, Outcome.PAUSED, Outcome.FAILED}


@dataclass(frozen=True, slots=True)
class Task:
    """One day and the minutes to request; where there are none, `outcome` is the day's outcome already."""

    day: Day
    spans: tuple[Span, ...] = ()
    outcome: Outcome | None = None

    def needs_run(self, *, is_recorded: bool) -> bool:
        """True if the day has minutes to request, or an outcome that Dagster should have and has not."""
        return self.outcome is None or (not is_recorded and self.outcome.is_recorded)


@dataclass(frozen=True, slots=True)
class Load:
    """A planned load.

    Attributes:
        store: the dataset's files.
        source: where klines come from.
        tasks: the days of the window, in order.
        life: when the exchange has klines of the pair.
        settled_ms: klines that open before this instant (ms UTC) are final; absent minutes from it on are `open`.
    """

    store: DatasetStore
    source: KlineSource
    tasks: tuple[Task, ...]
    life: Life
    settled_ms: int

    @property
    def spans(self) -> list[Span]:
        """The minutes to request."""
        return merge(span for task in self.tasks for span in task.spans)

    def between(self, first: str, last: str) -> "Load":
        """The same load, of the days from `first` to `last` alone, both included."""
        return replace(self, tasks=tuple(task for task in self.tasks if first <= task.day.key <= last))


def plan_load(store: DatasetStore, source: KlineSource, window: Span, *, refetch: bool = False) -> Load:
    """Note that the window was requested, and decide what each of its days needs.

    Args:
        store: the dataset's files. `dataset.json` gets the window, as far as the exchange can have klines of it.
        source: where klines come from.
        window: the requested minutes; a day that it only touches is loaded only in part.
        refetch: request also what is stored.

    Raises:
        PairNotListed, SourceUnavailable: nothing can be planned, and nothing was written.
    """
    now_ms, life = source.now_ms(), source.life(window.start_ms, between=store.dataset.reused)
    note_window(store, window, life, now_ms)
    return decide_load(store, source, window, refetch=refetch)


def decide_load(store: DatasetStore, source: KlineSource, window: Span, *, refetch: bool = False) -> Load:
    """As `plan_load`, without a note: nothing is written. The dataset need not exist."""
    now_ms, life = source.now_ms(), source.life(window.start_ms, between=store.dataset.reused)
    days = days_between(store.dataset.zone, window.start_ms, window.end_ms)
    tasks = [_task(store, day, window, life, now_ms, refetch=refetch) for day in days]
    return Load(store, source, tuple(tasks), life, settled_before(now_ms))


def note_window(store: DatasetStore, window: Span, life: Life, now_ms: int) -> None:
    """Note in `dataset.json` that the window was requested, and move the dataset's start down to it if need be.

    Days after the pair's last kline, which were requested before that was known to be its last, are so no more. A
    proven end is noted, too: where it is the end of a day, no chunk has a minute after it.
    """
    zone = store.dataset.zone
    if requested := reachable(window, life, settled_before(now_ms), zone):
        for part in subtract([requested], [life.between] if life.between else []):
            store.note_requested(part, dataset_start(zone, life, part), reused=life.between)
    if life.last_open_ms is not None and (life.ended or not life.by_files):
        store.note_without_klines(day_at(zone, life.last_open_ms).end_ms)
    noted_ms = store.dataset.ended_ms
    # A life of the archive alone proves no end and refutes none, if it ends before the end that is noted.
    if life.ended or life.last_open_ms is None or (noted_ms is not None and life.last_open_ms >= noted_ms):
        store.note_ended(life.ended_ms)


def _task(store: DatasetStore, day: Day, window: Span, life: Life, now_ms: int, *, refetch: bool) -> Task:
    can_be = reachable(Span(day.start_ms, day.end_ms), life, now_ms, store.dataset.zone)
    if can_be is None:
        return Task(day, outcome=_outcome_without(day, life))
    if not store.is_intact(day):
        # What earlier requests loaded is lost with a damaged chunk, so it is requested again.
        spans = intersect([can_be], [window, *store.dataset.requested])
    else:
        entry = store.entries[day.key]
        again = [window] if refetch or _is_to_be_confirmed(entry, day, now_ms) else []
        # An end and a beginning are what the life says now: minutes that were outside of it may be inside.
        doubtful = (absence for absence in entry.absences if not absence.kind.is_final or absence.kind in _OF_LIFE)
        unsettled = merge(_unsettled_span(absence, can_be) for absence in doubtful)
        # With what a run was to load that was killed before it came to this day, and what the exchange was late with.
        asked = intersect([can_be], [*again, *intersect([window, *store.dataset.requested], unsettled)])
        spans = _with_fresh(asked, entry, can_be)
    if life.between:
        spans = subtract(spans, [life.between])
    if not spans and day.key not in store.entries:
        return Task(day, outcome=Outcome.NOT_LISTED if window.end_ms <= life.first_open_ms else Outcome.OPEN)
    return Task(day, tuple(spans), None if spans else Outcome.UNCHANGED)


def _outcome_without(day: Day, life: Life) -> Outcome:
    """The outcome of a day of which the exchange can have no klines."""
    if day.end_ms <= life.first_open_ms or (life.between and day.start_ms < life.between.end_ms):
        return Outcome.NOT_LISTED
    if life.last_open_ms is None or day.start_ms <= life.last_open_ms:
        return Outcome.OPEN
    return Outcome.DELISTED if life.ended else Outcome.PAUSED


def _is_to_be_confirmed(entry: Entry, day: Day, now_ms: int) -> bool:
    """True if klines of the day were read before they were final, and all of them are final now."""
    return entry.was_read_live and day.end_ms <= settled_before(now_ms)


def _with_fresh(spans: list[Span], entry: Entry, can_be: Span) -> list[Span]:
    """The minutes to request, if there are any, with those whose stored klines were read within moments of closing.

    Only the open minutes after such klines mark them, and those may get klines or another reason now.
    """
    opens_ms = [absence.span.start_ms for absence in entry.absences if absence.kind is Kind.OPEN]
    if not spans or not opens_ms:
        return spans
    before = [Span(open_ms - SETTLING_MS, open_ms) for open_ms in opens_ms]
    return merge([*spans, *intersect([can_be], subtract(before, [absence.span for absence in entry.absences]))])


def _unsettled_span(absence: Absence, can_be: Span) -> Span:
    """The absent minutes; before open ones also those whose klines were read within moments of closing.

    Where the pair turns out to have ended with the minutes before unexplained ones, there is nothing else to request.
    """
    is_after_end = absence.kind is Kind.UNEXPLAINED and absence.span.start_ms >= can_be.end_ms
    before_ms = SETTLING_MS if absence.kind is Kind.OPEN or is_after_end else 0
    return Span(absence.span.start_ms - before_ms, absence.span.end_ms)
