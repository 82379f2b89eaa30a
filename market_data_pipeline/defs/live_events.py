"""What live mode tells Dagster, and how seldom: an event a minute for each pair would fill its database.

Belongs here: when a day or a dataset's freshness is worth an event. Does not belong here: ticks (`sensors`,
`following`), what a day's metadata says (`metadata`).
A day is told when its first klines are there, once an hour while it grows, and when it is over; freshness when it
changes. Only the first time it is a materialization: each one takes the results of all checks off the asset's page.
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
from market_data_pipeline.defs.checks import FRESH
from market_data_pipeline.defs.metadata import day_metadata

_EVERY_S = 3600.0
LiveEvent = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


@dataclass(frozen=True, slots=True)
class _Told:
    """When a day was told last (monotonic), and whether it was over then."""

    at_s: float
    is_over: bool


class LiveEvents:
    """The events of the datasets that one process follows."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], _Told] = {}
        self._fresh: dict[str, bool] = {}

    def of(
        self, update: Update, open_store: Callable[[], DatasetStore], instance: dg.DagsterInstance
    ) -> Iterator[LiveEvent]:
        """The events that this update is worth; the dataset's files are opened only for those."""
        for entry in update.entries:
            if self._is_worth_telling(update.name, entry):
                yield _of_day(open_store(), entry, instance)
        if (fresh := not (update.is_behind or update.error)) != self._fresh.get(update.name):
            self._fresh[update.name] = fresh
            yield _of_freshness(open_store().dataset, update, fresh)

    def _is_worth_telling(self, name: str, entry: Entry) -> bool:
        told = self._told.get((name, entry.day))
        now_s = time.monotonic()
        if told is not None and (told.is_over or (now_s - told.at_s < _EVERY_S and not entry.is_over)):
            return False
        self._told[name, entry.day] = _Told(now_s, entry.is_over)
        return True


def _of_day(
    store: DatasetStore, entry: Entry, instance: dg.DagsterInstance
) -> dg.AssetMaterialization | dg.AssetObservation:
    day = store.dataset.day(entry.day)
    chunk = store.trusted(day)
    klines = chunk.klines if chunk and chunk.entry.rows == entry.rows else None
    result = DayResult(day, Outcome.LOADED, entry, klines=klines)
    key = asset_key(store.dataset, "klines_1m")
    event = dg.AssetObservation if entry.day in instance.get_materialized_partitions(key) else dg.AssetMaterialization
    return event(key, partition=entry.day, metadata=day_metadata(store, result))


def _of_freshness(dataset: Dataset, update: Update, fresh: bool) -> dg.AssetCheckEvaluation:
    said = update.error or ("behind: a run has to load the missing days" if update.is_behind else "current")
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(dataset, "klines_1m"),
        check_name=FRESH,
        passed=fresh,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
    )
