"""A day that Dagster refuses for a moment, as its database is locked, is recorded all the same."""

import logging
import sqlite3
import time
from typing import Any

import dagster as dg
import pytest

from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.recorder import DayRecorder
from market_data_pipeline.instance.names import KLINES
from market_data_pipeline_tests.defs.loading import BTC, Loading


class Context:
    """What a recorder uses of a run's context; the database is locked for the first so many events."""

    log = logging.getLogger(__name__)

    def __init__(self, instance: dg.DagsterInstance, locked: int) -> None:
        self.instance, self.locked, self.recorded = instance, locked, list[str | None]()

    def log_event(self, event: dg.AssetMaterialization) -> None:
        if self.locked:
            self.locked -= 1
            raise sqlite3.OperationalError("database is locked")
        self.recorded.append(event.partition)


def recorded(load: Loading, locked: int) -> list[str | None]:
    """The days that are recorded of two, where the first one is noted when it is time to record."""
    load.run(BTC, "2024-05-01", "2024-05-02")
    store = load.store(BTC)
    with dg.DagsterInstance.ephemeral() as instance:
        context: Any = Context(instance, locked)
        with DayRecorder(context, asset_key(BTC, KLINES), store) as recorder:
            time.sleep(1.1)
            for key, entry in store.entries.items():
                recorder.note(DayResult(BTC.day(key), Outcome.LOADED, entry))
        return list(context.recorded)


def test_a_day_that_was_refused_is_recorded_with_the_next_ones(load: Loading) -> None:
    assert recorded(load, locked=1) == ["2024-05-01", "2024-05-02"]


def test_a_day_that_is_refused_at_the_end_fails_the_run(load: Loading) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        recorded(load, locked=2)
