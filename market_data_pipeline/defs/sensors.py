"""Live mode in Dagster: a sensor for each market, whose tick stores the newest minutes itself.

Belongs here: the time limits of a tick, the runs it requests, and what it reports. Does not belong here: storing klines
(`core.live.market`), which events are recorded (`live_events`), which days need a run (`core.live.runs_due`).
A run for each minute would store klines seconds late, and leave 190 MB a day and pair in Dagster's storage. So runs
load only days that are too much for a tick: missing days, and days that are over and have to be loaded again.
https://docs.dagster.io/guides/automate/sensors
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date

import dagster as dg
from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from market_data_pipeline.core.errors import SourceUnavailable, StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.live.runs_due import DueDays, Pauses
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.live_events import LiveEvent, LiveEvents
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import (
    DATASET_TAG,
    DAYS_TAG,
    KLINES,
    MANIFEST,
    WHY_TAG,
    YEAR_TAG,
    dataset_tag,
    op_name,
    range_tags,
    sensor_name,
)
from market_data_pipeline.instance.queue.parts import have_common
from market_data_pipeline.instance.runs import end_gone

_log = logging.getLogger(__name__)
# Dagster ends a tick after 60 s: a tick waits so long for the minute's end, and then so long for its klines.
_LONGEST_WAIT_S, _PATIENCE_S = 30.0, 10.0
# Dagster has no way to stop a tick, so this event is never set; a tick ends by its time limits.
_NEVER_STOPPED = threading.Event()
# So long after the last tick, for example of a sensor that was turned off, its datasets are released.
_IDLE_S = 150.0


def live_sensor_of(
    market: Market, datasets: list[Dataset], tools: Tools, *, named: str | None = None
) -> dg.SensorDefinition:
    """The live sensor of a market.

    Args:
        market: the market.
        datasets: its datasets that this code location has assets of.
        tools: the core objects that it uses.
        named: the name of one that was asked for: it is on, and marks these datasets and follows no others.
    """
    name = named or sensor_name(market)
    shared = _SharedSession(market, tools, f"the sensor {name}")
    keys = [asset_key(dataset, name) for dataset in datasets for name in (KLINES, MANIFEST)]

    @dg.sensor(
        name=name,
        asset_selection=keys or None,
        # A tick waits for the end of the minute, and the next tick may begin in the minute after.
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if named else dg.DefaultSensorStatus.STOPPED,
        description=f"Each minute, stores the newest closed klines of every {market} dataset that is "
        f"{'defined here' if named else 'marked live'}.",
    )
    def live(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        log_to(tools.logs)
        with shared.acquired() as session:
            if session is None:
                return dg.SkipReason("The previous tick is still running.")
            wanted = _marked(datasets, tools) if named else session.market.marked()
            holders = session.market.follow(wanted)
            if not session.market.followed:
                return dg.SkipReason(_no_dataset_reason(market, holders, is_named=named is not None))
            edge_ms = session.market.await_minute(_NEVER_STOPPED, longest_s=_LONGEST_WAIT_S)
            if edge_ms is None:
                return dg.SkipReason("The minute has just begun; the next tick waits for its end.")
            known = {dataset.name: dataset.start for dataset in datasets}
            return session.tick(context.instance, edge_ms, known, holders)

    return live


class _SharedSession:
    """The session of a sensor, shared by its ticks; one tick at a time has it."""

    def __init__(self, market: Market, tools: Tools, who: str) -> None:
        self._market, self._tools, self._who = market, tools, who
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._idle: threading.Timer | None = None
        self._trouble: Exception | None = None

    @contextmanager
    def acquired(self) -> "Iterator[_Session | None]":
        """The session, opened if there is none; None while another tick has it."""
        if not self._lock.acquire(blocking=False):
            yield None
            return
        try:
            if self._idle:
                self._idle.cancel()
            trouble, self._trouble = self._trouble, None
            if trouble:
                raise trouble
            if self._session is None:
                self._session = _Session(self._tools.open_live(self._market, self._who))
            yield self._session
        finally:
            self._idle = threading.Timer(_IDLE_S, self._close)
            self._idle.daemon = True
            self._idle.start()
            self._lock.release()

    def _close(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            if session:
                try:
                    session.market.close()
                except Exception as error:  # the next tick raises it, as nobody sees how this thread ends
                    _log.exception("a live session did not end in order")
                    self._trouble = error


class _Session:
    """What a sensor keeps between its ticks: the live market, the last events, and the last requests for runs."""

    def __init__(self, market: LiveMarket) -> None:
        self.market = market
        self._events = LiveEvents()
        self._requests = RunRequests()

    def tick(
        self, instance: DagsterInstance, edge_ms: int, known: dict[str, date], holders: dict[str, str]
    ) -> dg.SensorResult:
        """Store the minutes before `edge_ms` of all followed datasets, and request the runs that are due.

        Args:
            instance: the Dagster instance.
            edge_ms: the end of the newest minute, ms UTC.
            known: the first partition of each dataset that the code location has, by name; only these get events and
                runs.
            holders: which other process follows a live dataset, by the dataset's name.

        Raises:
            SourceUnavailable: every dataset's update failed, and an earlier tick has recorded that.
        """
        followed = {live.name: live for live in self.market.followed}
        updates: list[Update] = []
        began_s = time.monotonic()
        for update in self.market.tick(edge_ms, patience_s=_PATIENCE_S, stopped=_NEVER_STOPPED):
            updates.append(update)
            self._events.note(update)
        took_s = time.monotonic() - began_s
        self.market.flush()
        untold: list[tuple[str, LiveEvent]] = []
        for name in sorted(followed.keys() & known.keys()):
            store = followed[name].store
            of_dataset = self._events.untold(name, lambda store=store: store, instance)  # type: ignore[misc]
            untold += [(name, event) for event in of_dataset]
        errors = {update.name: update.error for update in updates if update.error}
        if len(errors) == len(updates) and not untold:
            raise SourceUnavailable(next(iter(errors.values())))
        unknown = sorted(followed.keys() - known.keys())
        due = [days for days in self.market.due_days(known) if days.store.dataset.name in known]
        numbers = {
            "minute": iso(edge_ms),
            "datasets": len(updates),
            "klines": sum(update.added for update in updates),
            "revised": sum(update.revised for update in updates),
            "late": sum(update.is_late for update in updates),
            "behind": sum(update.is_behind for update in updates),
            "seconds": round(took_s, 3),
            "clock_offset_ms": self.market.clock_offset_ms,
        }
        notes = {
            "errors": errors | self.market.trouble,
            "followed elsewhere": holders,
            "reload the code location for": unknown,
        }
        requests = self._requests.requests_for(instance, due)
        summary = f"{iso(edge_ms)}: klines {numbers['klines']}, datasets {len(updates)}, {took_s:.2f} s"
        for name, event in untold:
            self._events.told(name, event)
        return dg.SensorResult(
            run_requests=requests,
            # Dagster shows the reason of a tick that requests no run, and deletes such ticks after a day.
            skip_reason=None if requests else summary,
            asset_events=[event for _, event in untold],
            cursor=json.dumps(numbers | {name: note for name, note in notes.items() if note}),
        )


class RunRequests:
    """Requests for runs of days that are due, at most one at a time for each dataset."""

    def __init__(self) -> None:
        self._pauses = Pauses()

    def requests_for(self, instance: DagsterInstance, due: Iterable[DueDays]) -> list[dg.RunRequest]:
        """The requests for the days that have no run now, and had none within the pause of their reason.

        Of each dataset the first, as its runs come one after the other.
        """
        requested = dict[str, dg.RunRequest]()
        for days in due:
            name = days.store.dataset.name
            if name not in requested and self._is_allowed(instance, days):
                requested[name] = _request(days)
        return list(requested.values())

    def _is_allowed(self, instance: DagsterInstance, due: DueDays) -> bool:
        tags = _tags(due)
        key = tuple(tags.values())
        if self._pauses.go_on(key):
            return False
        of_dataset = RunsFilter(tags={DATASET_TAG: tags[DATASET_TAG]}, statuses=list(NOT_FINISHED_STATUSES))
        loading = [run for run in instance.get_runs(of_dataset) if _may_load(run.tags, tags[DAYS_TAG])]
        # That of a killed command loads nothing more, and Dagster would never end it.
        if len(end_gone(instance, loading)) < len(loading):
            return False
        last = instance.get_run_records(RunsFilter(tags=tags), 1)
        wait_s = last[0].create_timestamp.timestamp() + due.reason.pause_s - time.time() if last else 0.0
        # A run of the future was made while the clock was ahead: no days wait for that time.
        if 0 < wait_s <= 2 * due.reason.pause_s:
            self._pauses.begin(key, wait_s)
            return False
        return True


def _may_load(tags: Mapping[str, str], days: str) -> bool:
    """Whether a run of the dataset with these tags may load one of the days: a part of a load has no others."""
    return YEAR_TAG not in tags or have_common(tags[DAYS_TAG], days)


def _tags(due: DueDays) -> dict[str, str]:
    dataset = due.store.dataset
    return {
        DATASET_TAG: dataset_tag(dataset),
        WHY_TAG: due.reason.value,
        DAYS_TAG: f"{due.first.key}..{due.last.key}",
    }


def _request(due: DueDays) -> dg.RunRequest:
    dataset = due.store.dataset
    config = {"ops": {op_name(dataset, KLINES): {"config": {"refetch": due.refetch}}}}
    return dg.RunRequest(
        asset_selection=[asset_key(dataset, name) for name in (KLINES, MANIFEST)],
        run_config=config,
        tags={**_tags(due), **range_tags(due.first.key, due.last.key)},
    )


def _marked(datasets: list[Dataset], tools: Tools) -> list[Dataset]:
    """Those of the datasets that are stored, each marked live if it was not; a damaged one is logged."""
    marked = []
    for dataset in datasets:
        try:
            stored = tools.store.find(dataset.market, dataset.pair)
            if stored and not stored.live:
                files = tools.store.open(stored)
                files.mark_live(True)
                stored = files.dataset
        except StoreError as error:
            _log.warning("%s", error)
            continue
        if stored:
            marked.append(stored)
    return marked


def _no_dataset_reason(market: Market, holders: dict[str, str], *, is_named: bool) -> str:
    if holders:
        return "; ".join(f"{name} is followed by {holder}" for name, holder in holders.items())
    if is_named:
        return f"No {market} dataset that is defined here is stored; materialize a day of klines_1m first."
    return f"No {market} dataset is live; mark one with `market-data --market {market} --pair ... live --mark`."
