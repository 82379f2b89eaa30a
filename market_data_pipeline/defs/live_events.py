"""The events that live mode records in Dagster, few enough that its database stays small.

Belongs here: when a day or a dataset's freshness gets an event. Does not belong here: ticks (`sensors`,
`core.live.market`), the metadata of a day (`metadata`).
A day gets an event with its first klines, once an hour while it grows, and when it is over. Freshness gets one when it
changes. Only the first event of a day is a materialization, the others are observations: after each materialization the
page of the asset shows no check result until the checks are evaluated again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.metadata import day_metadata
from market_data_pipeline.instance.names import FRESH, KLINES

_INTERVAL_S = 3600.0
LiveEvent = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


@dataclass(frozen=True, slots=True)
class _LastEvent:
    """When the last event of a day was made, in monotonic seconds, and whether the day was over then."""

    at_s: float
    is_over: bool


class LiveEvents:
    """The events of the datasets that one process follows. Remembers the last event of each day and dataset."""

    def __init__(self) -> None:
        self._last_events: dict[tuple[str, str], _LastEvent] = {}
        self._fresh: dict[str, bool] = {}

    def events_of(
        self, update: Update, open_store: Callable[[], DatasetStore], instance: dg.DagsterInstance
    ) -> Iterator[LiveEvent]:
        """The events of an update, often none.

        Args:
            update: what a tick did for a dataset.
            open_store: opens the dataset's files; called only if there is an event.
            instance: shows whether a day has a materialization already.
        """
        for entry in update.entries:
            if self._needs_event(update.name, entry):
                yield _day_event(open_store(), entry, instance)
        if (is_fresh := not (update.is_behind or update.error)) != self._fresh.get(update.name):
            self._fresh[update.name] = is_fresh
            yield _freshness_event(open_store().dataset, update, is_fresh)

    def _needs_event(self, name: str, entry: Entry) -> bool:
        """True for a day without an event, and for one that is over since its last event or had it an hour ago."""
        last = self._last_events.get((name, entry.day))
        now_s = time.monotonic()
        if last is not None and (last.is_over or (now_s - last.at_s < _INTERVAL_S and not entry.is_over)):
            return False
        self._last_events[name, entry.day] = _LastEvent(now_s, entry.is_over)
        return True


def _day_event(
    store: DatasetStore, entry: Entry, instance: dg.DagsterInstance
) -> dg.AssetMaterialization | dg.AssetObservation:
    day = store.dataset.day(entry.day)
    chunk = store.trusted(day)
    klines = chunk.klines if chunk and chunk.entry.rows == entry.rows else None
    result = DayResult(day, Outcome.LOADED, entry, klines=klines)
    key = asset_key(store.dataset, KLINES)
    event = dg.AssetObservation if entry.day in instance.get_materialized_partitions(key) else dg.AssetMaterialization
    return event(key, partition=entry.day, metadata=day_metadata(store, result))


def _freshness_event(dataset: Dataset, update: Update, is_fresh: bool) -> dg.AssetCheckEvaluation:
    state = "behind: a run has to load the missing days" if update.is_behind else "current"
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(dataset, KLINES),
        check_name=FRESH,
        passed=is_fresh,
        severity=dg.AssetCheckSeverity.WARN,
        description=update.error or state,
    )
