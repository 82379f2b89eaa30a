"""Days recorded in Dagster as they finish, so that neither a failure nor a kill makes it forget them.

Belongs here: when a materialization is logged. Does not belong here: what it says (`metadata`), how it is stored
(`instance.storage`).
"""

import time
from types import TracebackType
from typing import Self

import dagster as dg

from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.defs.metadata import day_metadata, findings_table
from market_data_pipeline.instance.storage import stored_together

_EVERY_S = 1.0


class DayRecorder:
    """Logs one materialization per finished day; those of a second share one commit."""

    def __init__(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, key: dg.AssetKey, store: DatasetStore
    ) -> None:
        """Record days of the asset `key`, whose files are `store`."""
        self._context = context
        self._key = key
        self._store = store
        self._finished: list[DayResult] = []
        self._failed: list[DayResult] = []
        self._recorded_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # However the body ends: a cancelled run gets a BaseException.
        self._record()

    def note(self, result: DayResult) -> None:
        """Take a day's result; a failed one is kept for `raise_if_failed`."""
        if result.outcome is Outcome.FAILED:
            self._context.log.warning(f"{result.day.key} failed: {result.error}")
            self._failed.append(result)
        else:
            self._finished.append(result)
        if time.monotonic() - self._recorded_at >= _EVERY_S:
            self._record()

    def raise_if_failed(self) -> None:
        """Fail the run if any day failed, naming each; the finished ones stay recorded."""
        if self._failed:
            reasons = [(result.day.key, result.error or "failed") for result in self._failed]
            raise dg.Failure(
                f"failed days: {len(reasons)}, first {reasons[0][0]}: {reasons[0][1]}",
                metadata={"failed": findings_table(reasons)},
                allow_retries=False,
            )

    def _record(self) -> None:
        with stored_together(self._context.instance):
            for result in self._finished:
                event = dg.AssetMaterialization(
                    self._key, partition=result.day.key, metadata=day_metadata(self._store, result)
                )
                self._context.log_event(event)
        self._finished = []
        self._recorded_at = time.monotonic()
