"""Snapshots: make one of the datasets that are meant, list them, remove one, prove one.

Belongs here: which datasets a snapshot names. Does not belong here: what a snapshot is (`core.store.snapshots`),
printing.
"""

from collections.abc import Sequence

from market_data_pipeline.app.targets import Target, datasets_of
from market_data_pipeline.core.store.snapshots.lists import Snapshot, snapshots_of
from market_data_pipeline.core.store.snapshots.making import make_snapshot
from market_data_pipeline.core.store.snapshots.proving import SnapshotProof, prove_snapshot
from market_data_pipeline.core.store.snapshots.removing import Removed, remove_snapshot
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


def make(settings: Settings, name: str, targets: Sequence[Target]) -> Snapshot:
    """Name the chunks that the targets' datasets have now; those of all datasets, or of a market, if no pair is named.

    Raises:
        UsageError: there is such a snapshot already, no such dataset, or no chunk.
        StoreError: a dataset is damaged, or one of its chunks is missing; there is no snapshot then.
        StoreUnavailable: the disk takes no file now.
    """
    store = store_of(settings)
    return make_snapshot(store, name, [dataset for target in targets for dataset in datasets_of(store, target)])


def listed(settings: Settings) -> list[Snapshot]:
    """Every snapshot of the data root, by name.

    Raises:
        StoreError: the file of one is damaged.
    """
    return snapshots_of(store_of(settings).root)


def remove(settings: Settings, name: str) -> Removed:
    """Remove a snapshot, and the kept chunks that no other one names.

    Raises:
        UsageError: there is none.
        StoreUnavailable: another process makes or removes one.
    """
    return remove_snapshot(store_of(settings), name)


def prove(settings: Settings, name: str) -> SnapshotProof:
    """Read every chunk that a snapshot names.

    Raises:
        UsageError: there is none.
        StoreError: its file is damaged.
    """
    return prove_snapshot(store_of(settings), name)
