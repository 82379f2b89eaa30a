"""Removing a snapshot, and the kept chunks that no snapshot names any more.

Belongs here: the order of it. Does not belong here: whether a snapshot names a chunk (`keeping`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.keeping import KeptChunks
from market_data_pipeline.core.store.snapshots.lists import changing, find_snapshot, require_name
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed with a snapshot: kept chunks that no other one names."""

    name: str
    chunks: int
    size_bytes: int


def remove_snapshot(store: Store, name: str) -> Removed:
    """Remove a snapshot, finished or not; chunks that are in their place stay.

    Raises:
        UsageError: there is none.
        StoreUnavailable: another process makes or removes a snapshot.
    """
    folder, files = layout.snapshot_folder(store.root, require_name(name)), storage_of(store.root)
    # Not the folders, as an object store may list those that are empty. A removal that was killed has left any.
    if not any(layout.dataset_files(folder, name=each) for each in (layout.DATASET_FILE, layout.MANIFEST_FILE)):
        find_snapshot(store.root, name)
    with changing(store.root):
        files.remove(folder / layout.SNAPSHOT_FILE)
        files.sync(folder)  # a power cut must not bring it back without what follows
        files.remove_all(folder)
        swept = list(in_order(_sweep, _folders_with_kept(store), threads=store.most_at_once))
    return Removed(name, sum(count for count, _ in swept), sum(size_bytes for _, size_bytes in swept))


def _folders_with_kept(store: Store) -> list[StorePath]:
    return [path.parent for path in store.dataset_files() if _has_kept(path.parent)]


def _has_kept(folder: StorePath) -> bool:
    try:
        return bool(storage_of(folder).names(folder / layout.KEPT))
    except PermissionError:
        return False  # its dataset.json cannot be read either


def _sweep(folder: StorePath) -> tuple[int, int]:
    """Remove the kept chunks of a dataset that no snapshot names; how many, and how large they were."""
    files, count, size_bytes = storage_of(folder), 0, 0
    try:
        dataset = read_dataset(folder / layout.DATASET_FILE)
    except StoreError:
        return 0, 0  # what snapshots name of it cannot be told
    with files.lock(folder / layout.LOCK_FILE):
        named = _named(folder, dataset)
        if named is None:
            return 0, 0
        for name, size in files.sizes(folder / layout.KEPT).items():
            if layout.is_kept(name) and not named(name):
                files.remove(folder / layout.KEPT / name)
                count, size_bytes = count + 1, size_bytes + size
    return count, size_bytes


def _named(folder: StorePath, dataset: Dataset) -> Callable[[str], bool] | None:
    """Whether a snapshot names the chunk that was kept under a name; None if the list of one cannot be read."""
    names = set[str]()
    for found in KeptChunks(folder, dataset).named():
        if found is None:
            return None
        names |= {layout.kept_path(folder, sha256).name for sha256 in found.values()}
    return names.__contains__
