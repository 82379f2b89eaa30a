"""The minutes that live mode has requested of a dataset, and when `dataset.json` is told of them.

Belongs here: how often they are written. Does not belong here: the file (`store.dataset_file`), fetching (`dataset`).

Only absent minutes depend on whether they were requested, and those are noted at once. So what is known of the others
may be an hour old: the file takes 11 kB of disk with its folder's entry, which each minute would be most of what live
mode writes.
"""

from market_data_pipeline.core.klines.coverage import Span, subtract
from market_data_pipeline.core.store.dataset_store import DatasetStore

_SELDOM_MS = 3_600_000


class Requested:
    """What was requested since this process follows the dataset."""

    def __init__(self, store: DatasetStore) -> None:
        """Write nothing."""
        self._store = store
        self._span: Span | None = None

    def add(self, start_ms: int, end_ms: int) -> None:
        """Add minutes that were requested, ms UTC; those between them and the ones before were, too."""
        self._span = Span(min(self._span.start_ms, start_ms) if self._span else start_ms, end_ms)

    def note(self, before_ms: int | None, *, seldom: bool = False) -> None:
        """Write those that are not noted yet.

        Args:
            before_ms: the first minute that only the journal has, ms UTC, which is noted once it is folded.
            seldom: write nothing unless they reach over an hour.

        Raises:
            StoreError, OSError: nothing was written; the next call tries it again.
        """
        if self._span is None:
            return
        span = Span(self._span.start_ms, min(self._span.end_ms, before_ms or self._span.end_ms))
        new = subtract([span], self._store.dataset.requested)
        if new and not (seldom and new[-1].end_ms - new[0].start_ms < _SELDOM_MS):
            self._store.note_requested(span, self._store.dataset.start)
