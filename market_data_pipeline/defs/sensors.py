"""Live mode in Dagster: a sensor per market that does the minute's work inside its tick.

Belongs here: a tick's limits, the runs it asks for, what it says. Does not belong here: the work (`core.live_market`),
what Dagster is told of it (`live_events`).
A run per minute would come seconds late and leave 190 MB a day and pair behind, so only days get runs: those that
nobody followed, and those that are over and want to be confirmed.
https://docs.dagster.io/guides/automate/sensors
"""

import gc
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.live.runs_due import DueDays
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
    dataset_tag,
    op_name,
    range_tags,
    sensor_name,
)

# Dagster gives a tick 60 s.
_LONGEST_WAIT_S, _PATIENCE_S = 30.0, 10.0
# Nobody can tell a tick to stop; it ends by itself.
_NEVER = threading.Event()
# A sensor that was turned off lets go of its datasets after this.
_IDLE_S = 150.0


def live_sensor_of(market: Market, datasets: list[Dataset], tools: Tools) -> dg.SensorDefinition:
    """The live sensor of a market; `datasets` are those of it that this code location has assets of."""
    turn = _Turn(market, tools)
    keys = [asset_key(dataset, name) for dataset in datasets for name in (KLINES, MANIFEST)]

    @dg.sensor(
        name=sensor_name(market),
        asset_selection=keys or None,
        # A tick waits for the minute's end, and the next one may begin in the minute after.
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Each minute, the newest closed klines of every {market} dataset whose dataset.json says live.",
    )
    def live(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        log_to(tools.logs)
        with turn.taken() as mine:
            if mine is None:
                return dg.SkipReason("The tick before is still at work.")
            elsewhere = mine.market.follow(mine.market.marked())
            if not mine.market.followed:
                return dg.SkipReason(_nobody(market, elsewhere))
            edge_ms = mine.market.await_minute(_NEVER, longest_s=_LONGEST_WAIT_S)
            if edge_ms is None:
                return dg.SkipReason("The minute has just begun; the next tick waits for its end.")
            known = {dataset.name for dataset in datasets}
            return mine.tick(context.instance, edge_ms, known, elsewhere)

    return live


class _Turn:
    """The engine of a sensor, which lives as long as ticks come, and the right to be the one tick at work."""

    def __init__(self, market: Market, tools: Tools) -> None:
        self._market, self._tools = market, tools
        self._lock = threading.Lock()
        self._engine: _Engine | None = None
        self._idle: threading.Timer | None = None

    @contextmanager
    def taken(self) -> "Iterator[_Engine | None]":
        """The engine, None while another tick has it."""
        if not self._lock.acquire(blocking=False):
            yield None
            return
        try:
            if self._idle:
                self._idle.cancel()
            if self._engine is None:
                # All of Dagster is in this process, and looking through it for garbage would take a tick's time.
                gc.collect()
                gc.freeze()
                who = f"the sensor {sensor_name(self._market)}"
                self._engine = _Engine(self._tools.open_live(self._market, who))
            yield self._engine
        finally:
            self._idle = threading.Timer(_IDLE_S, self._close)
            self._idle.daemon = True
            self._idle.start()
            self._lock.release()

    def _close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
        if engine:
            engine.market.close()


class _Engine:
    """What a sensor keeps from tick to tick."""

    def __init__(self, market: LiveMarket) -> None:
        self.market = market
        self._events = LiveEvents()
        self._requests = RunRequests()

    def tick(
        self, instance: DagsterInstance, edge_ms: int, known: set[str], elsewhere: dict[str, str]
    ) -> dg.SensorResult:
        """One minute, for all datasets.

        Raises:
            SourceUnavailable: there was no answer for any of them, and that is told already.
        """
        followed = {one.name: one for one in self.market.followed}
        updates: list[Update] = []
        events: list[LiveEvent] = []
        began_s = time.monotonic()
        for update in self.market.tick(edge_ms, patience_s=_PATIENCE_S, stopped=_NEVER):
            updates.append(update)
            if update.name in known:
                store = followed[update.name].store
                events += self._events.of(update, lambda store=store: store, instance)  # type: ignore[misc]
        took_s = time.monotonic() - began_s
        self.market.flush()
        errors = {update.name: update.error for update in updates if update.error}
        if len(errors) == len(updates) and not events:
            raise SourceUnavailable(next(iter(errors.values())))
        unknown = sorted(followed.keys() - known)
        due = [one for one in self.market.due_days() if one.store.dataset.name in known]
        summary = {
            "minute": iso(edge_ms),
            "datasets": len(updates),
            "klines": sum(update.added for update in updates),
            "revised": sum(update.revised for update in updates),
            "late": sum(update.is_late for update in updates),
            "behind": sum(update.is_behind for update in updates),
            "seconds": round(took_s, 3),
            "clock_offset_ms": self.market.clock_offset_ms,
        }
        notes = {"errors": errors, "followed elsewhere": elsewhere, "reload the code location for": unknown}
        requests = self._requests.of(instance, due)
        said = f"{iso(edge_ms)}: klines {summary['klines']}, datasets {len(updates)}, {took_s:.2f} s"
        return dg.SensorResult(
            run_requests=requests,
            # Dagster's only word for a tick that asks for no run; such ticks are purged after a day.
            skip_reason=None if requests else said,
            asset_events=events,
            cursor=json.dumps(summary | {name: note for name, note in notes.items() if note}),
        )


class RunRequests:
    """Runs for days that are due, each asked for once and not again before it had its chance."""

    def __init__(self) -> None:
        self._not_before_s: dict[tuple[str, ...], float] = {}

    def of(self, instance: DagsterInstance, due: Iterable[DueDays]) -> list[dg.RunRequest]:
        """The requests for what is due and neither asked for nor tried lately, by whomever."""
        return [_request(one) for one in due if self._is_to_be_asked(instance, one)]

    def _is_to_be_asked(self, instance: DagsterInstance, due: DueDays) -> bool:
        tags = _tags(due)
        key = tuple(tags.values())
        if time.monotonic() < self._not_before_s.get(key, 0):
            return False
        # Any run of this dataset that was asked for here may be loading these days; once it has ended, only the same.
        asked = instance.get_run_records(
            RunsFilter(tags={DATASET_TAG: tags[DATASET_TAG]}, statuses=list(NOT_FINISHED_STATUSES)), 1
        )
        same = instance.get_run_records(RunsFilter(tags=tags), 1)
        if asked:
            return False
        if same and (wait_s := same[0].create_timestamp.timestamp() + due.reason.pause_s - time.time()) > 0:
            self._not_before_s[key] = time.monotonic() + wait_s
            return False
        return True


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


def _nobody(market: Market, elsewhere: dict[str, str]) -> str:
    if elsewhere:
        return "; ".join(f"{name} is followed by {holder}" for name, holder in elsewhere.items())
    return f"No {market} dataset is live: `market-data --market {market} --pair ... live --mark` makes one."
