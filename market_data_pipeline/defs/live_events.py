"""The events that live mode records in Dagster, few enough that its database stays small.

Belongs here: when a day or a dataset's freshness gets an event. Does not belong here: ticks (`sensors`,
`core.live.market`), the metadata of a day (`metadata`).
A day gets an event when its chunk is written first, once an hour while that grows, and when the day is over. Freshness
gets one when it changes. Only the first event of a day is a materialization, the others are observations: after each
materialization the page of the asset shows no check result until the checks are evaluated again.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.live.dataset import MOST_DAYS, Update
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
    """The events of the datasets that one process follows. Remembers the last event of each day and dataset.

    What Dagster did not take, because its database is locked or the disk full, is kept and told with the next update:
    of each dataset the newest hundred days and events.
    """

    def __init__(self) -> None:
        self._noted: dict[str, Update] = {}
        self._untold: dict[str, deque[LiveEvent]] = {}
        self._last_events: dict[str, dict[str, _LastEvent]] = {}
        self._fresh: dict[str, bool] = {}

    def note(self, update: Update) -> None:
        """Keep what a tick did for a dataset, with the days of earlier updates that have had no look at events yet."""
        earlier = self._noted.get(update.name)
        self._noted[update.name] = update.after(earlier) if earlier else update

    def untold(
        self, name: str, open_store: Callable[[], DatasetStore], instance: dg.DagsterInstance
    ) -> list[LiveEvent]:
        """The events of a dataset that are not told yet, often none; each is to be passed to `told` when it is.

        Args:
            name: the dataset's.
            open_store: opens the dataset's files; called only if there is an event.
            instance: shows whether a day has a materialization already.
        """
        untold = self._untold.setdefault(name, deque(maxlen=MOST_DAYS))
        if update := self._noted.get(name):
            untold.extend(self._events_of(update, open_store, instance))
            del self._noted[name]
        return list(untold)

    def told(self, name: str, event: LiveEvent) -> None:
        """Forget an event, as Dagster has it."""
        self._untold[name].remove(event)

    def _events_of(
        self, update: Update, open_store: Callable[[], DatasetStore], instance: dg.DagsterInstance
    ) -> Iterator[LiveEvent]:
        for entry in update.entries:
            if self._needs_event(update.name, entry):
                event = _day_event(open_store(), entry, instance)
                of_dataset = self._last_events.setdefault(update.name, {})
                of_dataset[entry.day] = _LastEvent(time.monotonic(), entry.is_over)
                # Live mode goes on for years, and days that are over do not come again.
                if len(of_dataset) > MOST_DAYS:
                    del of_dataset[min(of_dataset)]
                yield event
        if (is_fresh := not (update.is_behind or update.error)) != self._fresh.get(update.name):
            state = "behind: a run has to load the missing days" if update.is_behind else "current"
            freshness = freshness_evaluation(open_store().dataset, is_fresh, update.error or state)
            self._fresh[update.name] = is_fresh
            yield freshness

    def _needs_event(self, name: str, entry: Entry) -> bool:
        """True for a day without an event, and for one that is over since its last event or had it an hour ago."""
        last = self._last_events.get(name, {}).get(entry.day)
        if last is None:
            return True
        return not last.is_over and (entry.is_over or time.monotonic() - last.at_s >= _INTERVAL_S)


def _day_event(
    store: DatasetStore, entry: Entry, instance: dg.DagsterInstance
) -> dg.AssetMaterialization | dg.AssetObservation:
    result = DayResult(store.dataset.day(entry.day), Outcome.LOADED, entry)
    key = asset_key(store.dataset, KLINES)
    event = dg.AssetObservation if entry.day in instance.get_materialized_partitions(key) else dg.AssetMaterialization
    return event(key, partition=entry.day, metadata=day_metadata(store.chunk_path(result.day), result))


def freshness_evaluation(dataset: Dataset, is_fresh: bool, detail: str) -> dg.AssetCheckEvaluation:
    """An evaluation of `newest_kline_is_fresh` that no run has asked for."""
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(dataset, KLINES),
        check_name=FRESH,
        passed=is_fresh,
        severity=dg.AssetCheckSeverity.WARN,
        description=detail,
    )
