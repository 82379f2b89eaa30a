"""What live mode does in Dagster: events, and runs for days that are due, in a thread of its own.

Belongs here: that thread. Does not belong here: ticks (`app.live`), which events an update is worth
(`defs.live_events`), which days are due (`core.live.runs_due`). No minute waits for Dagster.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from market_data_pipeline.app.backfill import BackfillRequest, OnDay, OnStart, backfill
from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.runs_due import DueDays
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from market_data_pipeline.defs.live_events import LiveEvents

_log = logging.getLogger(__name__)
_LONGEST_END_S = 20.0


def load_due(settings: Settings, due: DueDays, on_start: OnStart, on_day: OnDay) -> list[str]:
    """Load the days in a Dagster run of this process; return what went wrong, a line each."""
    dataset = due.store.dataset
    target = Target(dataset.market, dataset.pair, dataset.zone, named=True)
    request = BackfillRequest(
        target, iso(due.first.start_ms), iso(due.last.end_ms), refetch=due.refetch, strict_pair=True
    )
    try:
        report = backfill(settings, request, on_start=on_start, on_day=on_day)
    except UsageError as error:  # the pair has ended, for one
        return [str(error)]
    failed = [f"{dataset.name} {day}: {why}" for day, why in report.failed]
    return [*failed, *([f"{dataset.name}: {report.error}"] if report.error else [])]


class DagsterThread:
    """Records updates in Dagster and loads due days, one after the other, in one thread."""

    def __init__(self, settings: Settings, on_trouble: Callable[[str], None]) -> None:
        """Start no thread; `on_trouble` is called with what fails, one line each."""
        self._settings, self._on_trouble = settings, on_trouble
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="dagster", daemon=True)
        self._not_before_s: dict[tuple[str, ...], float] = {}
        self._opened = ExitStack()
        self._events: tuple[DagsterInstance, LiveEvents] | None = None
        self._stopped = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._tasks.put(None)
        self._thread.join(_LONGEST_END_S)

    def record(self, dataset: Dataset, update: Update) -> None:
        """Record the update, if it is worth an event."""
        self._tasks.put(partial(self._record, dataset, update))

    def load(self, due: Sequence[DueDays]) -> None:
        """Load due days, except those for which the pause after the last try is not over."""
        for days in due:
            key = days.store.dataset.name, days.reason, days.first.key, days.last.key
            if time.monotonic() >= self._not_before_s.get(key, 0):
                self._not_before_s[key] = time.monotonic() + days.reason.pause_s
                self._tasks.put(partial(self._load, days))

    def _work(self) -> None:
        with self._opened:
            while (task := self._tasks.get()) is not None:
                try:
                    task()
                except Exception as error:  # klines are stored whatever is wrong with Dagster
                    _log.exception("live mode could not record an update in Dagster, or load a day")
                    self._on_trouble(" ".join(str(error).split()) or type(error).__name__)

    def _record(self, dataset: Dataset, update: Update) -> None:
        from market_data_pipeline.defs.live_events import LiveEvents  # takes seconds
        from market_data_pipeline.instance import runs

        if self._events is None:
            self._events = self._opened.enter_context(runs.open_instance(self._settings.home)), LiveEvents()
        instance, events = self._events
        # Other objects than the live market's own, which its threads use.
        for event in events.events_of(update, partial(store_of(self._settings).open, dataset), instance):
            instance.report_runless_asset_event(event)

    def _load(self, due: DueDays) -> None:
        if not self._stopped:
            for trouble in load_due(self._settings, due, lambda *_: None, lambda _: None):
                self._on_trouble(trouble)
