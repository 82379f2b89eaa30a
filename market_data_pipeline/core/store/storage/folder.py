"""A folder of this machine, or of a disk that it has mounted.

Belongs here: the operations of `Storage` on paths of the file system. Does not belong here: how a file is replaced
(`store.atomic`).
"""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from market_data_pipeline.core.store import atomic
from market_data_pipeline.core.store.atomic import FileStamp
from market_data_pipeline.core.store.disk import calls
from market_data_pipeline.core.store.disk.waiting import LockFile, acquired
from market_data_pipeline.core.store.storage.protocol import ANY, Expected

_NO_FOLDER = (FileNotFoundError, NotADirectoryError)
# Whatever else the file system says, as that a folder may not be looked into, tells of nothing that is absent.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


class Folder:
    """`Storage` for `pathlib.Path`s. What a write expects is not looked at: its caller holds the lock."""

    appends = True
    most_at_once = 1
    is_conditional = False

    def read(self, path: Path, most_bytes: int) -> bytes:
        """See `Storage.read`."""
        return atomic.read_file(path, most_bytes)

    def read_version(self, path: Path, most_bytes: int) -> tuple[bytes, FileStamp | None]:
        """See `Storage.read_version`."""
        before = atomic.stamp_of(path)
        content = atomic.read_file(path, most_bytes)
        return content, before if before == atomic.stamp_of(path) else None

    def version(self, path: Path) -> FileStamp | None:
        """See `Storage.version`."""
        return atomic.stamp_of(path)

    def versions(self, paths: Sequence[Path]) -> list[FileStamp | None]:
        """See `Storage.versions`."""
        return [atomic.stamp_of(path) for path in paths]

    def exists(self, path: Path) -> bool:
        """See `Storage.exists`."""
        return _is_there(path)

    def is_file(self, path: Path) -> bool:
        """See `Storage.is_file`."""
        return path.is_file()

    def is_same(self, folder: Path, other: Path) -> bool:
        """See `Storage.is_same`."""
        return folder == other or (folder.exists() and folder.samefile(other))

    def is_within(self, path: Path, root: Path) -> bool:
        """See `Storage.is_within`."""
        try:
            real = path.resolve(strict=True)
            return real.is_file() and real.is_relative_to(root.resolve(strict=True))
        except (OSError, ValueError, RuntimeError):
            return False

    def existing(self, paths: Iterable[Path]) -> list[Path]:
        """See `Storage.existing`."""
        return [path for path in paths if _is_there(path)]

    def names(self, folder: Path) -> list[str]:
        """See `Storage.names`."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - a tenth of the time of Path.iterdir
        except _NO_FOLDER:
            return []

    def sizes(self, folder: Path) -> dict[str, int]:
        """See `Storage.sizes`."""
        found = dict[str, int]()
        with suppress(*_NO_FOLDER), os.scandir(folder) as entries:
            for entry in entries:
                # Another process may rename or replace a file after it was listed.
                with suppress(FileNotFoundError):
                    found[entry.name] = entry.stat().st_size
        return found

    def open(self, path: Path) -> pa.NativeFile:
        """See `Storage.open`."""
        # A pipe would be waited for.
        if _is_there(path) and not path.is_file():
            raise ValueError("it is no file")
        try:
            return atomic.beside_writers(lambda: pa.OSFile(os.fspath(path), "rb"))
        except OSError as error:  # of pyarrow, with the path somewhere in its text
            number = error.errno or errno.EIO
            raise OSError(number, os.strerror(number), os.fspath(path)) from None

    def write(self, path: Path, content: bytes, expected: Expected = ANY, *, syncs: bool = True) -> FileStamp | None:
        """See `Storage.write`."""
        del expected
        atomic.write_whole(path, content, syncs_folder=syncs)
        return atomic.stamp_of(path)

    def sync(self, folder: Path) -> None:
        """See `Storage.sync`."""
        atomic.sync_folder(folder)

    def append(self, path: Path, last_bytes: int, addition: Callable[[bytes], bytes]) -> None:
        """See `Storage.append`."""
        with atomic.appended(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
            file.write(addition(file.read()))

    def append_at(self, path: Path, content: bytes, at: int) -> None:
        """See `Storage.append_at`."""
        try:
            # Unbuffered: what could not be written must not be tried again when the file is closed.
            with calls.opened(path, "ab", buffering=0) as file:
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, "the record was not written whole", str(path))
                calls.sync(file, path)
            if at == 0:
                atomic.sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                calls.cut(path, at)
            raise

    @contextmanager
    def streamed(self, path: Path) -> Iterator[pa.NativeFile]:
        """See `Storage.streamed`."""
        with atomic.streamed(path) as temporary, pa.OSFile(os.fspath(temporary), "wb") as file:
            yield file

    def remove(self, path: Path) -> None:
        """See `Storage.remove`."""
        atomic.remove(path)

    def remove_all(self, folder: Path) -> None:
        """See `Storage.remove_all`."""
        with suppress(*_NO_FOLDER):
            calls.remove_tree(folder)

    def remove_unfinished(self, folder: Path, is_written_here: Callable[[str], bool]) -> None:
        """See `Storage.remove_unfinished`."""
        for name in self.names(folder):
            if name.endswith(atomic.TEMPORARY_SUFFIX) and is_written_here(name.removesuffix(atomic.TEMPORARY_SUFFIX)):
                atomic.remove(folder / name)

    def copy(self, source: Path, target: Path) -> None:
        """See `Storage.copy`."""
        atomic.copy_whole(source, target)

    def move(self, source: Path, target: Path) -> None:
        """See `Storage.move`."""
        atomic.move(source, target)

    def make_folder(self, folder: Path) -> None:
        """See `Storage.make_folder`."""
        atomic.make_folder(folder)

    def lock(self, path: Path) -> LockFile:
        """See `Storage.lock`."""
        return LockFile(path)

    def hold(self, path: Path, *, is_own: bool = False) -> "_LockFile":
        """See `Storage.hold`."""
        return _LockFile(path, is_own=is_own)

    def is_held(self, path: Path) -> bool:
        """See `Storage.is_held`."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError as error:
            return error.errno in {errno.EACCES, errno.EROFS} and _is_locked(path)

    def require_writable(self, root: Path) -> None:
        """See `Storage.require_writable`."""
        atomic.require_writable(root)


class _LockFile:
    """A lock file. The operating system frees it when its process ends, however that happens."""

    def __init__(self, path: Path, *, is_own: bool) -> None:
        from filelock import FileLock  # imported late, see `atomic.lock_of`

        self._lock = FileLock(path, thread_local=False)
        self._path, self._is_own = path, is_own

    @property
    def is_mine(self) -> bool:
        """See `Hold.is_mine`."""
        return self._lock.is_locked

    def acquire(self, *, within_s: float = 0) -> bool:
        """See `Hold.acquire`."""
        try:
            acquired(self._lock, self._path, within_s)
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """See `Hold.release`."""
        self._lock.release()
        if self._is_own:
            atomic.remove(self._path)


def _is_locked(path: Path) -> bool:
    """Whether a process has the lock of a file that this one may only read: filelock takes it by flock."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_there(path: Path) -> bool:
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno not in _ABSENT
    except ValueError:  # no name can have a NUL
        return False
    return True


FOLDER = Folder()
