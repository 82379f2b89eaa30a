"""Writing files so that a file under its final name always has its last byte, wherever a process is killed.

Belongs here: the few functions that every writer of the store uses, on every operating system. Does not belong here:
which files there are (`layout`).

What was reported as written must survive a power cut, so on POSIX the folder of a new, renamed or removed file is
synced, too. Windows has no such call: NTFS keeps changes of folders in order in its own journal.
"""

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from market_data_pipeline.core.again import again
from market_data_pipeline.core.errors import StoreUnavailable
from market_data_pipeline.core.store.disk import calls
from market_data_pipeline.core.text import size_text

if TYPE_CHECKING:
    from filelock import BaseFileLock

TEMPORARY_SUFFIX = ".tmp"
"""What the name of a file ends with while it is written."""
# Two changes within one tick of a file system's clock leave the same time; the coarsest clocks tick every 2 s.
_SETTLED_AFTER_S = 2.0
_NO_FILE = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}
# How long a change waits for readers, and a reader for a change; both are done in far less.
_READ_WITHIN_S, _OPENED_WITHIN_S = 5.0, 1.0
T = TypeVar("T")


class FileStamp(NamedTuple):
    """When a file was last written (ns), how long it is, and its inode: one of them differs once it is replaced."""

    modified_ns: int
    size_bytes: int
    inode: int

    @property
    def is_settled(self) -> bool:
        """See `Version.is_settled`."""
        return self.was_settled(time.time())

    def was_settled(self, at_s: float) -> bool:
        """See `Version.was_settled`."""
        return at_s - self.modified_ns / 1e9 > _SETTLED_AFTER_S

    @property
    def mark(self) -> str:
        """See `Version.mark`: the time tells it. The inode does not last on a network drive."""
        return ""


def write_whole(path: Path, content: bytes, *, syncs_folder: bool = True) -> None:
    """Make `path` hold `content`: temporary file in the same folder, fsync, rename.

    As with `streamed`, a caller that may be one of several writers of `path` holds a lock. Without `syncs_folder` the
    caller does that (`sync_folder`) before it tells anyone that the file is there.
    """
    with _renamed(path, syncs_folder=syncs_folder) as temporary, calls.opened(temporary, "wb") as file:
        file.write(content)
        calls.sync(file, temporary)


@contextmanager
def streamed(path: Path) -> Iterator[Path]:
    """The temporary file to write in the block; after it, fsync and rename to `path`, or removal if the block raised.

    The temporary name is fixed, so a caller that may be one of several writers of `path` holds a lock.
    """
    with _renamed(path) as temporary:
        calls.opened(temporary, "wb").close()
        yield temporary
        with calls.opened(temporary, "rb+") as file:
            calls.sync(file, temporary)


@contextmanager
def _renamed(path: Path, *, syncs_folder: bool = True) -> Iterator[Path]:
    """The temporary file beside `path`, renamed to it after the block, or removed if the block raised."""
    temporary = temporary_of(path)
    try:
        yield temporary
        _make_way(path)
        move(temporary, path)
        if syncs_folder:
            sync_folder(path.parent)
    except BaseException:
        remove(temporary)
        raise


def temporary_of(path: Path) -> Path:
    """Where the content of `path` is written, before it is renamed.

    Who finds such a file has to hold the lock under which `path` is written: then no process is writing it.
    """
    return path.with_name(path.name + TEMPORARY_SUFFIX)


@contextmanager
def appended(path: Path) -> Iterator[IO[bytes]]:
    """The file, open for reading and for appending, which ends up on disk with the block; made if there is none."""
    _make_way(path)
    with calls.opened(path, "a+b") as file:
        yield file
        calls.sync(file, path)
    # Also if it was there: who made it may have been killed before this.
    sync_folder(path.parent)


def _make_way(path: Path) -> None:
    """Rename what is at `path` and no file, such as a folder, to a name that is free: nothing is removed."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and path.is_file()):
        return
    names = (path.with_name(f"{path.name}.{number}") for number in count(1))
    calls.rename(path, next(name for name in names if not os.path.lexists(name)))


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a file of at most `most_bytes`. What is no file, such as a pipe, is not waited for.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: there is no file, or it is too large; one line.
        OSError: it cannot be read now.
    """
    try:
        descriptor = beside_writers(lambda: _descriptor(path))
    except OSError as error:
        if error.errno in _NO_FILE:
            raise ValueError(f"it is no file: {error.strerror}") from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ValueError("it is no file")
    try:
        with os.fdopen(descriptor, "rb") as file:
            content = b"" if found.st_size > most_bytes else file.read(found.st_size + 1)
            if len(content) > found.st_size:  # it grew meanwhile
                content += file.read(most_bytes + 1 - len(content))
    except OSError as error:  # a broken disk; Python does not say of which file
        error.filename = str(path)
        raise
    if max(found.st_size, len(content)) > most_bytes:
        raise ValueError(f"it is larger than {size_text(most_bytes)}")
    return content


def _descriptor(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except PermissionError as error:
        # Windows refuses to open a folder.
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, error.strerror, str(path)) from None
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, on file systems that can; nothing on Windows."""
    if os.name == "nt":
        return
    try:
        calls.sync_folder(folder)
    except PermissionError:
        pass
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def make_folder(folder: Path) -> None:
    """Make the folder and those above it that do not exist, and bring their names to disk.

    Each name is on disk before anything is put into the folder. So only that of an empty folder may not be there yet:
    the process that made it was killed.
    """
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    found = missing[-1].parent if missing else folder
    if found.is_dir() and _is_empty(found):
        sync_folders_above(found)
    for made in reversed(missing):
        calls.make_folder(made)
        sync_folder(made.parent)


def sync_folders_above(folder: Path) -> None:
    """Bring the name of a folder to disk, and the names of all folders above it."""
    for above in folder.parents:
        sync_folder(above)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def copy_whole(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, with its times."""
    with streamed(target) as temporary:
        shutil.copy2(source, temporary)


def move(source: Path, target: Path) -> None:
    """Rename, replacing what is at `target`.

    Raises:
        PermissionError: with the name of `target`, if the file there may be what is in the way, else of `source`.
    """
    try:
        _patiently(lambda: calls.rename(source, target), _READ_WITHIN_S)
    except PermissionError as error:
        if source != temporary_of(target) and not os.path.lexists(target):
            raise
        # Python names the source, of which nobody knows where it is a temporary file.
        number, of_windows = error.errno, getattr(error, "winerror", None)
        raise PermissionError(number, error.strerror, os.fspath(target), of_windows) from None


def remove(path: Path) -> None:
    """Remove a file if there is one."""
    _patiently(lambda: calls.remove(path), _READ_WITHIN_S)


def beside_writers(read: Callable[[], T]) -> T:
    """What `read` returns, which opens a file that another process may just be replacing."""
    return _patiently(read, _OPENED_WITHIN_S)


def _patiently(act: Callable[[], T], within_s: float) -> T:
    """What `act` returns. What Windows refuses is tried again.

    Windows replaces and removes no file while someone reads it, and opens none at the moment at which it is renamed.
    """

    def may_succeed(error: BaseException) -> bool:
        return isinstance(error, PermissionError) and os.name == "nt"

    return again(act, may_succeed, within_s=within_s, pause_s=0.02, longest_pause_s=0.03)


def lock_of(path: Path) -> "BaseFileLock":
    """The lock file at `path`, not acquired yet."""
    # Importing filelock takes 6 ms, and a reader needs no lock.
    from filelock import FileLock

    return FileLock(path)


def stamp_of(path: Path) -> FileStamp | None:
    """The file's stamp; None if there is no file."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in {errno.ENOENT, *_NO_FILE}:
            return None
        raise
    return FileStamp(found.st_mtime_ns, found.st_size, found.st_ino)


def sha256_of(content: bytes) -> str:
    """The hex digest that manifests hold."""
    return hashlib.sha256(content).hexdigest()


def require_writable(root: Path) -> None:
    """Make the data root exist and prove that it takes files.

    Raises:
        StoreUnavailable: it does not.
    """
    try:
        make_folder(root)
        sync_folders_above(root)  # whoever made it
        # A file without a name, or one that the system removes: no other process can take it for its own.
        with TemporaryFile(dir=root, prefix=".writable-"):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(
            f"cannot write to the data root {root}: {reason}; set MARKET_DATA_DIR to a folder you own"
        ) from error
