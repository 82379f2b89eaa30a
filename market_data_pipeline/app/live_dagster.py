"""Events and runs of foreground live mode in Dagster, in a thread of their own, so that no tick waits for Dagster.

Belongs here: that thread, its queue of tasks, and the loads before the first minute. Does not belong here: ticks
(`app.live`), which events an update gets (`defs.live_events`), which days are due (`core.live.runs_due`).
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from market_data_pipeline.app.backfill import BackfillRequest, OnDay, OnStart, backfill
from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import SourceUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.runs_due import DueDays, Pauses
from market_data_pipeline.core.text import count_text, told_of
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from market_data_pipeline.defs.live_events import LiveEvents

_log = logging.getLogger(__name__)
_LONGEST_JOIN_S = 20.0
# One exchange that does not answer may be the archive, about one pair. Each more of them keeps live mode from its first
# minute for as long as requests are retried.
_MOST_UNAVAILABLE = 3


def load_due(settings: Settings, due: DueDays, on_start: OnStart, on_day: OnDay) -> list[str]:
    """Load the days in a Dagster run of this process.

    Args:
        settings: the settings.
        due: the days.
        on_start: called with the dataset, the number of days and the source before the first day.
        on_day: called with each day's result.

    Returns:
        What failed, one line each.

    Raises:
        StoreError, SourceError: nothing was loaded.
    """
    dataset = due.store.dataset
    target = Target(dataset.market, dataset.pair, dataset.zone, named=True)
    request = BackfillRequest(
        target, iso(due.first.start_ms), iso(due.last.end_ms), refetch=due.refetch, strict_pair=True
    )
    try:
        report = backfill(settings, request, on_start=on_start, on_day=on_day)
    except UsageError as error:  # for example, the pair is not traded any more
        return [str(error)]
    failed = [f"{dataset.name} {day}: {reason}" for day, reason in report.failed]
    return [*failed, *([f"{dataset.name}: {report.error}"] if report.error else [])]


def load_missing(
    settings: Settings, missing: Sequence[DueDays], on_start: OnStart, on_day: OnDay, *, is_all: bool
) -> list[str]:
    """Load what live mode misses before its first minute. What fails is due again in each minute.

    Args:
        settings: the settings.
        missing: the days, at most one range of them for each dataset.
        on_start: see `load_due`.
        on_day: see `load_due`.
        is_all: whether there is no other dataset that live mode follows.

    Returns:
        What failed, one line each.

    Raises:
        Exception: the first error, if `is_all` and each load raised one.
    """
    said, errors = list[str](), list[Exception]()
    for at, due in enumerate(missing):
        if sum(isinstance(error, SourceUnavailable) for error in errors) == _MOST_UNAVAILABLE:
            left = len(missing) - at
            are = "is" if left == 1 else "are"
            said.append(f"{count_text(left, 'more dataset')} {are} loaded after the first minute, not before it")
            break
        try:
            said += load_due(settings, due, on_start, on_day)
            due.store.refresh()
        except Exception as error:  # as in the thread: the other datasets go on
            _log.exception("%s could not be loaded before the first minute", due.store.dataset.name)
            said.append(told_of(due.store.dataset.name, _said_of(error)))
            errors.append(error)
    if is_all and len(errors) == len(missing):
        raise errors[0]
    return said


def _said_of(error: Exception) -> str:
    from sqlalchemy.exc import DBAPIError

    from market_data_pipeline.instance.events.batches import refusal_text

    if isinstance(error, DBAPIError):
        return f"Dagster's database takes no entry of live mode ({refusal_text(error)}); it gets what is new later"
    return " ".join(str(error).split()) or type(error).__name__


def _key(due: DueDays) -> tuple[str, ...]:
    return due.store.dataset.name, due.reason, due.first.key, due.last.key


class DagsterThread:
    """A thread that records updates in Dagster and loads due days, one task after the other."""

    def __init__(
        self, settings: Settings, on_trouble: Callable[[str], None], on_end: Callable[[BaseException], None]
    ) -> None:
        """Prepare the thread, which starts with the `with` block.

        Args:
            settings: the settings.
            on_trouble: called in that thread with each failure, one line each.
            on_end: called in that thread with the error that ends it before the block does.
        """
        self._settings, self._on_trouble, self._on_end = settings, on_trouble, on_end
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # Of each dataset one, however long a database that is away takes to refuse each of those before it.
        self._waiting: dict[str, Update] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="dagster", daemon=True)
        self._loading: set[str] = set()
        self._pauses = Pauses()
        self._opened = ExitStack()
        self._instance: DagsterInstance | None = None
        self._events: LiveEvents | None = None
        self._refused: dict[str, Dataset] = {}
        self._stopped = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._tasks.put(None)
        self._thread.join(_LONGEST_JOIN_S)

    def record(self, dataset: Dataset, update: Update) -> None:
        """Queue the update; the thread records its events, often none."""
        with self._lock:
            earlier = self._waiting.get(dataset.name)
            self._waiting[dataset.name] = update.after(earlier) if earlier else update
        if earlier is None:
            self._tasks.put(partial(self._record, dataset))

    def load(self, due: Sequence[DueDays]) -> None:
        """Queue due days, one load at a time for each dataset.

        Days are left out if a load of their dataset has not ended yet, or if they were loaded for the same reason
        within the reason's pause.
        """
        for days in due:
            # In this order: a load that ends meanwhile sets its pause before it leaves the set.
            if days.store.dataset.name in self._loading or self._pauses.go_on(_key(days)):
                continue
            self._loading.add(days.store.dataset.name)
            self._tasks.put(partial(self._load, days))

    def _work(self) -> None:
        try:
            self._do_tasks()
        except BaseException as error:
            if not self._stopped:  # a run that is interrupted because live mode ends
                self._on_end(error)

    def _do_tasks(self) -> None:
        with self._opened:
            while (task := self._tasks.get()) is not None:
                self._try(task)
            for dataset in list(self._refused.values()):
                self._try(partial(self._tell, dataset))

    def _try(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # live mode goes on storing klines, whatever fails in Dagster
            _log.exception("live mode could not record an update in Dagster, or load a day")
            self._on_trouble(_said_of(error))

    def _record(self, dataset: Dataset) -> None:
        from market_data_pipeline.defs.live_events import LiveEvents  # takes seconds

        self._events = self._events or LiveEvents()
        with self._lock:
            update = self._waiting.pop(dataset.name)
        self._events.note(update)
        self._refused[dataset.name] = dataset
        self._tell(dataset)

    def _tell(self, dataset: Dataset) -> None:
        """Tell Dagster the events of the dataset that it has not taken yet; the dataset stays refused if it raises."""
        from market_data_pipeline.instance import runs

        assert self._events is not None
        if self._instance is None:
            self._instance = self._opened.enter_context(runs.open_instance(self._settings.home))
        # A store of its own: other threads use the live market's.
        open_store = partial(store_of(self._settings).open, dataset)
        for event in self._events.untold(dataset.name, open_store, self._instance):
            self._instance.report_runless_asset_event(event)
            self._events.told(dataset.name, event)
        del self._refused[dataset.name]

    def _load(self, due: DueDays) -> None:
        try:
            if not self._stopped:
                for trouble in load_due(self._settings, due, lambda *_: None, lambda _: None):
                    self._on_trouble(trouble)
        finally:
            # From here, as hundreds of loads may have been waited for, for longer than the pause.
            self._pauses.begin(_key(due), due.reason.pause_s)
            self._loading.remove(due.store.dataset.name)
