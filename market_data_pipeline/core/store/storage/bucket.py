"""A bucket of an object store, below a prefix.

Belongs here: the operations of `Storage` on objects. Does not belong here: how the object store is reached, and the
words of its errors (`objects`), rights that processes hold (`lease`), whether its conditions hold (`probe`).

There are no folders, no locks and no renaming. A write is refused if the object is not the version that it replaces.
An object is whole as soon as it is there, and what was written survives, so nothing is left to sync or to clean up.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from market_data_pipeline.core.store.storage.objects import Objects, ObjectVersion
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import ANY, Expected, again_if_changed
from market_data_pipeline.core.store.storage.session import Sessions
from market_data_pipeline.core.text import size_text

if TYPE_CHECKING:
    from market_data_pipeline.core.store.storage.lease import Lease

# Requests wait for the network, not for a core.
_AT_ONCE = 16
# So many requests at once take no longer than a listing.
_FEW = 8
T = TypeVar("T")


class Bucket:
    """`Storage` for `BucketPath`s of one root."""

    appends = False
    most_at_once = _AT_ONCE
    is_conditional = True

    def __init__(self, objects: Objects) -> None:
        """Send no request yet."""
        self._objects = objects
        self._sessions = Sessions(objects)

    def read(self, path: BucketPath, most_bytes: int) -> bytes:
        """See `Storage.read`."""
        return self.read_version(path, most_bytes)[0]

    def read_version(self, path: BucketPath, most_bytes: int) -> tuple[bytes, ObjectVersion]:
        """See `Storage.read_version`."""
        found = self._objects.get(path)
        if found.version.size_bytes > most_bytes:
            raise ValueError(f"it is larger than {size_text(most_bytes)}")
        return found.content(), found.version

    def version(self, path: BucketPath) -> ObjectVersion | None:
        """See `Storage.version`."""
        try:
            return self._objects.version(path)
        except FileNotFoundError:
            return None

    def versions(self, paths: Sequence[BucketPath]) -> list[ObjectVersion | None]:
        """See `Storage.versions`. Many are listed: a thousand for the time of a few requests."""
        listed: dict[str, ObjectVersion] = {}
        if len(paths) > _FEW:
            listed = self._objects.within(paths[0].parent)[1]
        # What a listing lacks that was late is asked for by itself.
        unlisted = [path for path in paths if path.name not in listed]
        found = dict(zip(unlisted, self._at_once(self.version, unlisted), strict=True))
        return [listed.get(path.name) or found.get(path) for path in paths]

    def exists(self, path: BucketPath) -> bool:
        """See `Storage.exists`."""
        found = self.is_file(path)
        if not found and not self._objects.is_known_to_exist:
            # The answer is the same where there is no bucket. Only a listing tells that.
            self._objects.within(path)
        return found

    def is_file(self, path: BucketPath) -> bool:
        """See `Storage.is_file`."""
        return self.version(path) is not None

    def is_same(self, folder: BucketPath, other: BucketPath) -> bool:
        """See `Storage.is_same`."""
        return folder == other

    def is_within(self, path: BucketPath, root: BucketPath) -> bool:
        """See `Storage.is_within`."""
        return path.key.startswith(f"{root.key}/" if root.key else "") and self.is_file(path)

    def existing(self, paths: Iterable[BucketPath]) -> list[BucketPath]:
        """See `Storage.existing`."""
        asked = list(paths)
        return [path for path, found in zip(asked, self._at_once(self.is_file, asked), strict=True) if found]

    def names(self, folder: BucketPath) -> list[str]:
        """See `Storage.names`."""
        folders, objects = self._objects.within(folder)
        return sorted({*folders, *objects})

    def sizes(self, folder: BucketPath) -> dict[str, int]:
        """See `Storage.sizes`."""
        return {name: version.size_bytes for name, version in self._objects.within(folder)[1].items()}

    def open(self, path: BucketPath) -> pa.NativeFile:
        """See `Storage.open`."""
        return pa.PythonFile(io.BufferedReader(self._objects.open(path), 1 << 16), mode="r")

    def write(self, path: BucketPath, content: bytes, expected: Expected = ANY, *, syncs: bool = True) -> ObjectVersion:
        """See `Storage.write`."""
        del syncs
        return self._objects.write(path, content, expected)

    def sync(self, folder: BucketPath) -> None:
        """See `Storage.sync`."""

    @again_if_changed
    def append(self, path: BucketPath, last_bytes: int, addition: Callable[[bytes], bytes]) -> None:
        """See `Storage.append`. The object is replaced by a longer one."""
        content, version = b"", None
        with suppress(FileNotFoundError):
            found = self._objects.get(path)
            content, version = found.content(), found.version
        if added := addition(content[-last_bytes:]):
            self.write(path, content + added, version)

    def append_at(self, path: BucketPath, content: bytes, at: int) -> None:
        """See `Storage.append_at`."""
        if at:
            raise ValueError("nothing can be appended to an object")
        self.write(path, content, None)

    @contextmanager
    def streamed(self, path: BucketPath) -> Iterator[pa.NativeFile]:
        """See `Storage.streamed`. The content is kept on this machine's disk until it is whole."""
        with TemporaryFile() as whole:
            file = pa.PythonFile(whole, mode="w")
            yield file
            file.flush()
            whole.seek(0)
            self._objects.send(path, whole)

    def remove(self, path: BucketPath) -> None:
        """See `Storage.remove`."""
        self._objects.delete(path)

    def remove_all(self, folder: BucketPath) -> None:
        """See `Storage.remove_all`."""
        folders, objects = self._objects.within(folder)
        for name in folders:
            self.remove_all(folder / name)
        self._at_once(self.remove, [folder / name for name in objects])

    def remove_unfinished(self, folder: BucketPath, is_written_here: Callable[[str], bool]) -> None:
        """See `Storage.remove_unfinished`."""

    def copy(self, source: BucketPath, target: BucketPath) -> None:
        """See `Storage.copy`."""
        self._objects.copy(source, target)

    def move(self, source: BucketPath, target: BucketPath) -> None:
        """See `Storage.move`. What is killed between the two leaves both, of the same content.

        Of a name that only has objects below it, each of them is moved.
        """
        moved = None
        try:
            # What another process has written there since it was copied must not be removed with it.
            while moved != (moved := self._objects.version(source)):
                self._objects.copy(source, target)
        except FileNotFoundError:
            if moved is not None or not (below := self.names(source)):
                raise
            for name in below:
                self.move(source / name, target / name)
        else:
            self._objects.delete(source)

    def make_folder(self, folder: BucketPath) -> None:
        """See `Storage.make_folder`."""

    def lock(self, path: BucketPath) -> "_NoLock":
        """See `Storage.lock`. Writes name the version that they replace."""
        del path
        return _NoLock()

    def hold(self, path: BucketPath, *, is_own: bool = False) -> "Lease":
        """See `Storage.hold`."""
        from market_data_pipeline.core.store.storage.lease import Lease

        return Lease(self._objects, self._sessions, path, is_own=is_own)

    def is_held(self, path: BucketPath) -> bool:
        """See `Storage.is_held`."""
        from market_data_pipeline.core.store.storage.lease import is_held

        return is_held(self._objects, self._sessions, path)

    def _at_once(self, ask: Callable[[BucketPath], T], paths: Sequence[BucketPath]) -> list[T]:
        if len(paths) < 2:
            return [ask(path) for path in paths]
        with ThreadPoolExecutor(min(_AT_ONCE, len(paths)), thread_name_prefix="bucket") as pool:
            return list(pool.map(ask, paths))

    def require_writable(self, root: BucketPath) -> None:
        """See `Storage.require_writable`."""
        from market_data_pipeline.core.store.storage.probe import require_conditions

        require_conditions(self._objects, root)


class _NoLock(nullcontext[None]):
    """Always free, as nobody relies on it."""

    def acquire(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """See `Lock.acquire`."""
        del timeout
        return self
