"""The numbers of a dataset, summed up from its manifest and its ledger of revisions; no chunk is read.

Belongs here: the numbers that `status` and the manifest asset show. Does not belong here: showing them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from market_data_pipeline.core.klines.coverage import minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.storage.protocol import StorePath


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is stored, in numbers.

    Days are local dates, None without chunks. `newest_open_ms` is the open time of the newest kline, ms UTC. `states`
    has the number of chunks by state, `absent_minutes` that of minutes by kind of absence, `flaws` is that of stored
    values that break a rule. `revisions` is the number of revisions in the ledger, `last_revision` the newest of them.
    `warnings` are those of opening the dataset.
    """

    chunks: int
    complete_chunks: int
    rows: int
    size_bytes: int
    first_day: str | None
    last_day: str | None
    newest_open_ms: int | None
    states: Mapping[str, int]
    absent_minutes: Mapping[str, int]
    flaws: int
    revisions: int
    last_revision: Revision | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatasetStatus(Numbers):
    """A dataset in numbers: which it is, and in which folder."""

    dataset: Dataset
    folder: StorePath


def status_of(store: DatasetStore) -> DatasetStatus:
    """The dataset in numbers."""
    revisions = store.revisions()
    entries = store.by_day()
    states = Counter(entry.state for entry in entries)
    return DatasetStatus(
        dataset=store.dataset,
        folder=store.folder,
        chunks=len(entries),
        complete_chunks=sum(entry.complete for entry in entries),
        rows=sum(entry.rows for entry in entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        first_day=entries[0].day if entries else None,
        last_day=entries[-1].day if entries else None,
        newest_open_ms=store.newest_open_ms,
        states={state.value: states[state] for state in State if state in states},
        absent_minutes=minutes_by_kind(absence for entry in entries for absence in entry.absences),
        flaws=sum(len(entry.flaws) for entry in entries),
        revisions=len(revisions),
        last_revision=revisions[-1] if revisions else None,
        warnings=tuple(store.warnings),
    )
