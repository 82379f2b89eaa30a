"""A snapshot as a value, and its file `snapshot.json`.

Belongs here: names of snapshots, finding and reading them. Does not belong here: making and removing (`making`,
`removing`), chunks (`keeping`).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from market_data_pipeline.core.errors import StoreError, StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import layout, records
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import refusal_of_disk

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
# On Windows no folder can have these names.
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|COM\d|LPT\d)(?:\..*)?", re.IGNORECASE)
_MOST_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A named list of chunks.

    Attributes:
        name: what commands call it.
        created: when it was made, ISO UTC.
        datasets: how many datasets it has.
        chunks: how many chunks it names.
        rows: how many klines these have.
        size_bytes: how large the chunks are together.
        sha256: of the whole list: two snapshots of equal klines in equal chunks have the same.
    """

    name: str
    created: str
    datasets: int
    chunks: int
    rows: int
    size_bytes: int
    sha256: str


@dataclass(slots=True)
class _SnapshotRecord:
    format: Literal[1]
    name: str
    created: str
    datasets: int
    chunks: int
    rows: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        records.require_sha256(self.sha256)
        if min(self.datasets, self.chunks, self.rows, self.bytes) < 0 or not _NAME.fullmatch(self.name):
            raise ValueError("a count is negative, or the name is none")


def require_name(name: str) -> str:
    """The name of a snapshot.

    Raises:
        UsageError: it can be none.
    """
    if not _is_name(name):
        raise UsageError(f"no name of a snapshot: {name[:60]!r}; write letters, digits and ._- such as paper-2024")
    return name


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)


def find_snapshot(root: StorePath, name: str) -> Snapshot:
    """The snapshot of this name.

    Raises:
        UsageError: there is none.
        StoreError: its file is damaged, or cannot be read now.
    """
    path = layout.snapshot_folder(root, require_name(name)) / layout.SNAPSHOT_FILE
    try:
        record = records.parse(_SnapshotRecord, storage_of(path).read(path, _MOST_BYTES))
    except FileNotFoundError:
        known = ", ".join(folder.name for folder in _finished(root)) or "none"
        raise UsageError(f"no snapshot {name!r} under {root}; there are: {known}") from None
    except OSError as error:
        raise StoreUnavailable(refusal_of_disk(error)) from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}); restore it, or remove the snapshot") from error
    counts = record.datasets, record.chunks, record.rows, record.bytes
    return Snapshot(name, record.created, *counts, record.sha256)


def snapshots_of(root: StorePath) -> list[Snapshot]:
    """Every snapshot of a data root, by name; those that are being made are left out.

    Raises:
        StoreError: the file of one is damaged.
    """
    return [find_snapshot(root, folder.name) for folder in _finished(root)]


def write_snapshot(root: StorePath, snapshot: Snapshot) -> None:
    """Write the file that makes the snapshot exist."""
    record = _SnapshotRecord(
        format=1,
        name=snapshot.name,
        created=snapshot.created,
        datasets=snapshot.datasets,
        chunks=snapshot.chunks,
        rows=snapshot.rows,
        bytes=snapshot.size_bytes,
        sha256=snapshot.sha256,
    )
    path = layout.snapshot_folder(root, snapshot.name) / layout.SNAPSHOT_FILE
    storage_of(path).write(path, (json.dumps(records.content(record), indent=2) + "\n").encode())


def lines_of(dataset: Dataset, entries: Iterable[Entry]) -> bytes:
    """A dataset's part of the list: a line for each chunk, by day. It takes a fifth of the memory of the entries."""
    name = f"{dataset.market} {dataset.token} {dataset.zone.name}"
    return "".join(sorted(f"{name} {entry.day} {entry.sha256}\n" for entry in entries)).encode()


def digest_of(listed: Iterable[bytes]) -> str:
    """The sha256 of the list, in whichever order the lines of its datasets are."""
    digest = hashlib.sha256()
    for lines in sorted(listed):
        digest.update(lines)
    return digest.hexdigest()


@contextmanager
def changing(root: StorePath) -> Iterator[None]:
    """Let one process at a time make or remove snapshots of a data root.

    Raises:
        StoreUnavailable: another process does.
    """
    folder, files = layout.snapshots_folder(root), storage_of(root)
    files.make_folder(folder)
    right = files.hold(folder / layout.LOCK_FILE)
    if not right.acquire():
        raise StoreUnavailable(f"another process makes or removes a snapshot of {root}; wait for its end")
    try:
        yield
    finally:
        right.release()


def _finished(root: StorePath) -> list[StorePath]:
    # A copy that a file manager made, `paper - Copy`, is no snapshot.
    folders = [folder for folder in layout.snapshot_folders(root) if _is_name(folder.name)]
    finished = set(storage_of(root).existing(folder / layout.SNAPSHOT_FILE for folder in folders))
    return [folder for folder in folders if folder / layout.SNAPSHOT_FILE in finished]
