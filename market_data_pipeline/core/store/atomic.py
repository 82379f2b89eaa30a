"""Whole files only: what is visible under its final name was written to its last byte.

Belongs here: the few lines every writer of the store goes through, on every operating system. Does not belong here:
which files there are (`store`).
"""

import hashlib
import os
import threading
from pathlib import Path

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from market_data_pipeline.core.errors import StoreError

TEMPORARY_SUFFIX = ".tmp"
FileState = tuple[int, int, int]
"""What changes when a file does: its time (ns), size and place."""


def write_whole(path: Path, content: bytes) -> None:
    """Make `path` hold `content`: temporary file in the same folder, fsync, rename.

    The temporary name is fixed, so a caller that may be one of several writers of `path` holds a lock.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    move(temporary, path)


def move(source: Path, target: Path) -> None:
    """Rename, replacing what is at `target`."""
    try:
        source.replace(target)
    except PermissionError:
        _move_later(source, target)


# Windows refuses to replace a file while someone reads it; a reader is done in far less than this.
@retry(retry=retry_if_exception_type(PermissionError), stop=stop_after_delay(5), wait=wait_fixed(0.05), reraise=True)
def _move_later(source: Path, target: Path) -> None:
    source.replace(target)


def state_of(path: Path) -> FileState | None:
    """The file's state; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def sha256_of(content: bytes) -> str:
    """The hex digest that manifests hold."""
    return hashlib.sha256(content).hexdigest()


def require_writable(root: Path) -> None:
    """Make the data root exist and prove that it takes files.

    Raises:
        StoreError: it does not.
    """
    probe = root / f".writable-{os.getpid()}-{threading.get_ident()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(
            f"cannot write to the data root {root}: {reason}; set MARKET_DATA_DIR to a folder you own"
        ) from error
