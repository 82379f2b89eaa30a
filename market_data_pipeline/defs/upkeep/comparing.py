"""What Dagster lacks of what is stored.

Belongs here: comparing the manifests with what Dagster has recorded. Does not belong here: recording it (`report`),
whether what is stored is good (`core.proof`).
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import dagster as dg

from market_data_pipeline.core.errors import PASSING, MarketDataError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.combined import Combined, read_combined
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.layout import combined_path
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import problem_text
from market_data_pipeline.defs.metadata import is_told, recorded_chunk
from market_data_pipeline.instance.events.recorded import recorded_texts
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST, asset_path


@dataclass(frozen=True, slots=True)
class Compared:
    """What Dagster lacks of one dataset.

    Attributes:
        name: of the dataset, or the `dataset.json` if that cannot be read.
        files: those of the dataset, None if they cannot be read.
        untold: the stored days that Dagster does not have, or has with another chunk.
        days: how many days are stored.
        not_stored: how many days Dagster has with a chunk that the store does not have.
        manifest: whether the manifest is to be recorded.
        combined: the combined file, if it is to be recorded.
        problem: why the dataset cannot be read, one line; empty if it can.
        may_pass: whether the same may succeed later: the problem is one of the disk.
    """

    name: str
    files: DatasetStore | None = None
    untold: tuple[Entry, ...] = ()
    days: int = 0
    not_stored: int = 0
    manifest: bool = False
    combined: Combined | None = None
    problem: str = ""
    may_pass: bool = False

    @property
    def needs_run(self) -> bool:
        """True if there is something to record."""
        return bool(self.untold or self.manifest or self.combined)


def compared(instance: dg.DagsterInstance, store: Store, dataset_files: Iterable[StorePath]) -> Generator[Compared]:
    """Compare what is stored with what Dagster has, dataset by dataset. Nothing is recorded.

    Args:
        instance: the Dagster instance.
        store: the data root.
        dataset_files: the `dataset.json` of each dataset.
    """
    for path in dataset_files:
        name = str(path)
        try:
            dataset = store.read(path)
            name = dataset.name
            found = _compared(instance, store.open(dataset))
        except (MarketDataError, OSError) as error:
            found = Compared(name, problem=problem_text(error), may_pass=isinstance(error, PASSING))
        yield found


def _compared(instance: dg.DagsterInstance, files: DatasetStore) -> Compared:
    dataset, entries = files.dataset, dict(files.entries)
    texts = recorded_texts(instance, dg.AssetKey(asset_path(dataset, KLINES)))
    untold = tuple(entry for day, entry in sorted(entries.items()) if not is_told(entry, texts.get(day)))
    combined = read_combined(combined_path(files.folder, dataset.token))
    return Compared(
        name=dataset.name,
        files=files,
        untold=untold,
        days=len(entries),
        not_stored=sum(bool(recorded_chunk(text)) for day, text in texts.items() if day not in entries),
        manifest=bool(untold) or (bool(entries) and not _has(instance, dataset, MANIFEST)),
        combined=combined if combined and not _has(instance, dataset, COMBINED) else None,
    )


def _has(instance: dg.DagsterInstance, dataset: Dataset, name: str) -> bool:
    return instance.get_latest_materialization_event(dg.AssetKey(asset_path(dataset, name))) is not None
