"""Proof that every chunk a snapshot names can still be read.

Belongs here: reading all of them. Does not belong here: proof that a dataset is complete (`core.proof`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.keeping import read_named
from market_data_pipeline.core.store.snapshots.lists import Snapshot, digest_of, find_snapshot, lines_of
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text


@dataclass(frozen=True, slots=True)
class SnapshotProof:
    """What was found: how many chunks were read, how many of them were kept, and what is wrong, one line each."""

    snapshot: Snapshot
    chunks: int
    kept: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if every chunk is there."""
        return not self.problems


def prove_snapshot(store: Store, name: str) -> SnapshotProof:
    """Read and hash every chunk that a snapshot names.

    Raises:
        UsageError: there is no such snapshot.
        StoreError: its file is damaged.
    """
    snapshot = find_snapshot(store.root, name)
    of_snapshot = Store(layout.snapshot_folder(store.root, name))
    listed, problems, chunks, kept = list[bytes](), list[str](), 0, 0
    for path in of_snapshot.dataset_files():
        try:
            dataset = of_snapshot.read(path)
        except StoreError as error:
            problems.append(str(error))
            continue
        entries = ManifestFile(path.with_name(layout.MANIFEST_FILE), dataset).entries(warn=problems.append) or {}
        of_dataset = [entries[day] for day in sorted(entries)]
        listed.append(lines_of(dataset, of_dataset))
        folder = store.folder(dataset.market, dataset.pair)
        look = partial(_is_kept, folder, current_paths(folder, dataset))
        found = list(in_order(look, of_dataset, threads=store.most_at_once))
        chunks, kept = chunks + len(found), kept + found.count(True)
        if lost := [entry.day for entry, is_kept in zip(of_dataset, found, strict=True) if is_kept is None]:
            problems.append(
                f"{dataset.name}: {len(lost)} of {count_text(len(found), 'chunk')} gone or damaged, first {lost[0]}"
            )
    if digest_of(listed) != snapshot.sha256:
        problems.append(f"the lists of the snapshot {name} are not those that were written")
    return SnapshotProof(snapshot, chunks, kept, tuple(problems))


def current_paths(folder: StorePath, as_it_was: Dataset) -> Mapping[str, StorePath]:
    """The chunk files that a dataset has now, by day; its start may have moved since."""
    try:
        dataset = read_dataset(folder / layout.DATASET_FILE)
    except StoreError:
        dataset = as_it_was
    return chunk_files.scan(folder / layout.CHUNKS, dataset).paths


def _is_kept(folder: StorePath, paths: Mapping[str, StorePath], entry: Entry) -> bool | None:
    """Whether a chunk was replaced and kept; None if it is nowhere."""
    try:
        return read_named(folder, paths.get(entry.day), entry.sha256)[1]
    except StoreError:
        return None
