"""Days recorded in Dagster as they finish, so that finished days stay recorded when a run fails or is killed.

Belongs here: when a materialization is logged. Does not belong here: its metadata (`metadata`), how it is stored
(`instance.events`).
"""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import dagster as dg

from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.defs.metadata import day_metadata, findings_table, tells_of_chunk
from market_data_pipeline.instance.events.batches import REFUSALS, record, refusal_text

_INTERVAL_S = 1.0
# A database that is down makes each try wait for seconds, and the load with it.
AFTER_REFUSAL_S = 30.0
MOST_KEPT = 2_000
_log = logging.getLogger(__name__)


class DayRecorder:
    """Logs one materialization per finished day, about once a second, with one database commit each time."""

    def __init__(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        key: dg.AssetKey,
        path_of: Callable[[Day], StorePath],
        *,
        again: bool = True,
    ) -> None:
        """Log nothing yet.

        Args:
            context: of the run that loads the days.
            key: the asset that the days are partitions of.
            path_of: gives where the chunk of a day is.
            again: log also days that Dagster had with the same chunk before the run began, as whoever materializes a
                partition asks for. A load that was planned before its run began, and asks for klines, does not.
        """
        self._context = context
        self._key = key
        self._path_of = path_of
        self._again = again
        self._finished: list[DayResult] = []
        self._failed: list[DayResult] = []
        self._due_s = time.monotonic() + _INTERVAL_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Also after a BaseException, which Dagster raises in a run that is cancelled.
        self.close()

    def close(self) -> None:
        """Log what is left; may be called again.

        Raises:
            REFUSALS: Dagster takes nothing now.
        """
        self._record(is_last=True)

    @property
    def left(self) -> int:
        """How many days are finished and not logged."""
        return len(self._finished)

    def note(self, result: DayResult) -> None:
        """Note a day's result. Finished days are logged about once a second; failed ones are for `raise_if_failed`."""
        if result.outcome is Outcome.FAILED:
            self._context.log.warning(f"{result.day.key} failed: {result.error}")
            self._failed.append(result)
        elif result.outcome.is_recorded:
            self._finished.append(result)
        if time.monotonic() >= self._due_s:
            self._record()

    def raise_if_failed(self) -> None:
        """Fail the run if a day failed. Finished days stay recorded.

        Raises:
            dg.Failure: the message names the first failed day, the metadata all of them, each with the reason.
        """
        if self._failed:
            reasons = [(result.day.key, result.error or "failed") for result in self._failed]
            raise dg.Failure(
                f"failed days: {len(reasons)}, first {reasons[0][0]}: {reasons[0][1]}",
                metadata={"failed": findings_table(reasons)},
                allow_retries=False,
            )

    def _record(self, *, is_last: bool = False) -> None:
        """Log the finished days. Those that Dagster refuses are kept for the next time, unless this is the last one."""
        finished, self._finished = self._finished, []
        pause_s = _INTERVAL_S
        try:
            made = [self._materialization(result) for result in finished]
            # While this process was cut off, another one may have loaded its days; and of a batch whose answer was
            # lost nobody knows whether it is stored.
            entries = {result.day.key: result.entry for result in finished}
            record(self._context, made, lambda day, text: tells_of_chunk(text, entries[day]), again=self._again)
        except REFUSALS as error:
            if is_last:
                self._finished = finished
                raise
            # Days that are dropped here are recorded by the next load, which asks Dagster what it has.
            self._finished = finished[-MOST_KEPT:]
            pause_s = AFTER_REFUSAL_S
            counts = len(finished), len(self._finished)
            _log.warning("Dagster did not record %d days; the last %d are told again: %s", *counts, refusal_text(error))
        self._due_s = time.monotonic() + pause_s

    def _materialization(self, result: DayResult) -> dg.AssetMaterialization:
        metadata = day_metadata(self._path_of(result.day), result)
        return dg.AssetMaterialization(self._key, partition=result.day.key, metadata=metadata)
