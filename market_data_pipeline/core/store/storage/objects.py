"""An object store as the bucket needs it: requests, and their errors as those of a folder.

Belongs here: each request. Does not belong here: how the object store is opened (`opening`), what its errors mean
(`refusals`), what the requests are for (`bucket`, `lease`).
"""

import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, TypeVar

from market_data_pipeline.core.again import again
from market_data_pipeline.core.store.storage.opening import OF_LOADS, OF_READERS, library, opened
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import Changed, Expected, Unconditional
from market_data_pipeline.core.store.storage.refusals import NO_ETAG, errors_of, is_lost

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta
    from obstore.store import ObjectStore

T = TypeVar("T")
# A page asks for many objects, each of which would be waited for.
_AWAY_S = 2.0
# The library takes longer over a server that refuses connections, which may not exist.
_NEVER_ANSWERED_S = 1.0


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """The ETag of an object, which another content does not have."""

    etag: str
    size_bytes: int = field(compare=False)
    modified_ns: int = field(default=0, compare=False)

    @property
    def is_settled(self) -> bool:
        """See `Version.is_settled`."""
        return True

    def was_settled(self, at_s: float) -> bool:
        """See `Version.was_settled`."""
        del at_s
        return True

    @property
    def mark(self) -> str:
        """See `Version.mark`."""
        return self.etag


class Found:
    """An object whose content is about to be read."""

    def __init__(self, path: BucketPath, got: "GetResult") -> None:
        """`got` is the response."""
        self._path, self._got = path, got
        self.version = _version_of(got.meta, path)

    def content(self) -> bytes:
        """All of it."""
        with errors_of(self._path):
            return bytes(self._got.bytes())


class Objects:
    """The objects below one root. Threads may share it; a process that was forked opens connections of its own."""

    def __init__(self, root: str, *, is_hurried: bool = False) -> None:
        """Send no request yet.

        Args:
            root: the address of the data root.
            is_hurried: an answer is not waited for as long as otherwise, see `opening`.
        """
        self.root, self._is_hurried = root, is_hurried
        self._patience = OF_READERS if is_hurried else OF_LOADS
        # Until when it counts as away, and what is said of it.
        self._away_until_s, self._problem = 0.0, ""
        self._lock = threading.Lock()
        # What is in the memory of this process is opened once.
        self._has_answered = root.startswith("memory:")
        self.is_known_to_exist = False
        """Whether the bucket is; that it has no such object, is answered without a bucket, too."""
        self._opened: tuple[tuple[int, bool], ObjectStore] | None = None

    def get(self, path: BucketPath) -> Found:
        """Begin to read an object.

        Raises:
            FileNotFoundError: there is none.
        """
        return Found(path, self._answer(path, lambda store: library("obstore").get(store, path.key)))

    def range(self, path: BucketPath, start: int, end: int, version: ObjectVersion) -> bytes:
        """The bytes from `start` to before `end` of this version.

        Raises:
            Changed: it is not there any more.
        """
        options: Any = {"range": (start, end), "if_match": version.etag}
        got = self._answer(path, lambda store: library("obstore").get(store, path.key, options=options).bytes())
        return bytes(got)

    def version(self, path: BucketPath) -> ObjectVersion:
        """The version of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            return _version_of(self._answer(path, lambda store: library("obstore").head(store, path.key)), path)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EINVAL):
                self.get(path)  # answered with the reason, which the answer to HEAD has no room for
            raise

    def within(self, folder: BucketPath) -> tuple[list[str], dict[str, ObjectVersion]]:
        """The names of the folders directly below a folder, and the versions of the objects there by name.

        Raises:
            OSError: they cannot be listed; a bucket that does not exist is no empty one.
        """
        try:
            found = self._answer(
                folder, lambda store: library("obstore").list_with_delimiter(store, folder.key or None)
            )
        except FileNotFoundError as error:
            raise OSError(errno.ENXIO, "the bucket does not exist", self.root) from error
        # SeaweedFS and consoles keep an object for a folder, which has the name of the folder itself, or none.
        start = f"{folder.key}/" if folder.key else ""
        objects = [item for item in found["objects"] if item["path"].startswith(start) and item["path"] != start]
        folders = [key.removeprefix(start) for key in found["common_prefixes"] if key.startswith(start)]
        return folders, {item["path"].removeprefix(start): _version_of(item, folder) for item in objects}

    def put(self, path: BucketPath, content: bytes, expected: Expected) -> ObjectVersion:
        """Write an object in place of the expected version.

        Raises:
            Changed: the object is not what was expected.
        """
        mode: Any = "create" if expected is None else "overwrite"
        if not (expected is None or isinstance(expected, Unconditional)):
            mode = {"e_tag": expected.mark}
        try:
            put = self._answer(path, lambda store: library("obstore").put(store, path.key, content, mode=mode))
        except FileNotFoundError:
            if isinstance(mode, str):
                raise
            raise Changed(f"{path} was removed by another process") from None
        return ObjectVersion(_required(put["e_tag"], path), len(content))

    def write(self, path: BucketPath, content: bytes, expected: Expected) -> ObjectVersion:
        """As `put`. If the answer to it was lost, and it was sent again, it is no conflict to find this very content.

        Raises:
            Changed: the object is not what was expected, and has another content or was removed.
        """
        try:
            return self.put(path, content, expected)
        except Changed:
            with suppress(FileNotFoundError):
                found = self.get(path)
                if found.version.size_bytes == len(content) and found.content() == content:
                    return found.version
            raise

    def send(self, path: BucketPath, file: IO[bytes]) -> None:
        """Make an object of a file, in parts if it is long, whatever is there."""

        def put(store: "ObjectStore") -> None:
            file.seek(0)
            library("obstore").put(store, path.key, file)

        try:
            self._answer(path, put)
        except FileNotFoundError:
            # The answer to the end of it was lost, and when that was sent again there were no parts any more.
            if not self._has(path, file):
                raise

    def _has(self, path: BucketPath, file: IO[bytes]) -> bool:
        def is_equal(store: "ObjectStore") -> bool:
            file.seek(0)
            pieces = map(bytes, library("obstore").get(store, path.key).stream())
            return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)

        try:
            return self._answer(path, is_equal)
        except FileNotFoundError:
            return False

    def delete(self, path: BucketPath) -> None:
        """Remove an object; it is no error if there is none."""
        with suppress(FileNotFoundError):
            self._answer(path, lambda store: library("obstore").delete(store, path.key))

    def copy(self, source: BucketPath, target: BucketPath) -> None:
        """Copy an object within the store, without its bytes coming here."""
        self._answer(source, lambda store: library("obstore").copy(store, source.key, target.key))

    def open(self, path: BucketPath) -> io.RawIOBase:
        """One version of an object, read at any position.

        Raises:
            FileNotFoundError: there is none.
        """
        return _Ranges(self, path, self.version(path))

    def _store(self) -> "ObjectStore":
        with self._lock:
            now = os.getpid(), self._has_answered
            if self._opened is None or self._opened[0] != now:
                store = opened(self.root, self._patience, has_answered=self._has_answered)
                self._opened = now, store
            return self._opened[1]

    def _answer(self, path: BucketPath, request: Callable[["ObjectStore"], T]) -> T:
        """What the object store answers, with the errors of a folder.

        The library does not send all requests again whose connection was reset. These may be done twice, see `write`.
        """

        def ask() -> T:
            with errors_of(path):
                return request(self._store())

        within_s = self._patience.tries_s if self._has_answered else _NEVER_ANSWERED_S
        with self._asked(path):
            return again(ask, is_lost, within_s=within_s, pause_s=0.1, longest_pause_s=self._patience.longest_pause_s)

    @contextmanager
    def _asked(self, path: BucketPath) -> Iterator[None]:
        """Note whether there is an answer. Who was waited for in vain is not waited for again until it answers."""
        if time.monotonic() < self._away_until_s:
            raise OSError(errno.EIO, self._problem, str(path))
        try:
            yield
        except (FileNotFoundError, Changed):
            self._has_answered = True
            raise
        except OSError as error:
            if is_lost(error) and not self.root.startswith("memory:"):
                self._has_answered = False
                if self._is_hurried:
                    self._away_until_s, self._problem = time.monotonic() + _AWAY_S, error.strerror or str(error)
            raise
        self._has_answered = self.is_known_to_exist = True


class _Ranges(io.RawIOBase):
    """An object that is read by ranges."""

    def __init__(self, objects: Objects, path: BucketPath, version: ObjectVersion) -> None:
        super().__init__()
        self._objects, self._path, self._version, self._at = objects, path, version, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._version.size_bytes}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._version.size_bytes)
        if end <= self._at:
            return 0
        try:
            content = self._objects.range(self._path, self._at, end, self._version)
        except Changed:  # who reads knows of nothing that may change: a file of a folder stays the one that was opened
            raise OSError(errno.ESTALE, "it was replaced while it was read; read it again", str(self._path)) from None
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _version_of(found: "ObjectMeta", path: BucketPath) -> ObjectVersion:
    modified_ns = int(found["last_modified"].timestamp()) * 1_000_000_000
    return ObjectVersion(_required(found["e_tag"], path), int(found["size"]), modified_ns)


def _required(etag: str | None, path: BucketPath) -> str:
    if not etag:
        raise OSError(errno.ENOTSUP, NO_ETAG, str(path))
    return etag
