"""Folding: klines of the journal become part of their day's chunk.

Belongs here: the chunk of a day with klines that were stored in the journal. Does not belong here: the journal
(`store.journal`), when to fold (`live`), klines that were just fetched (`day`).
"""

import pyarrow as pa

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.store.chunks.growing import grown_chunk
from market_data_pipeline.core.store.chunks.replacing import until_published
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import LIVE, Entry


def fold(store: DatasetStore, day: Day, klines: pa.Table) -> Entry:
    """Add the klines of the day whose minutes its chunk lacks, and return the chunk's entry.

    A minute that the chunk has stays as it is: another process, such as a backfill, may have stored it meanwhile.

    Raises:
        StoreError: the day has no chunk that is intact, or another process goes on writing it.
        BadAnswer: the klines cannot be stored.
    """

    def publish() -> Entry:
        stored = store.trusted(day)
        if stored is None:
            raise StoreError(
                f"the chunk of {store.dataset.name} {day.key} is damaged or gone; a run has to load the day"
            )
        new = grown_chunk(store.dataset, day, stored, klines, LIVE)
        if new:
            return store.publish(new)
        store.sync()  # the process that added them may have been killed before it did this
        return stored.entry

    return until_published(publish)
