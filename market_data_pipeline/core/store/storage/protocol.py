"""What the store needs of the place where its files are.

Belongs here: the operations and their promises. Does not belong here: how a folder (`folder`) keeps them.

All that is written is there whole or not at all, wherever a process is killed. Two writers of one file exclude each
other in one of two ways: a folder has locks, so that a file cannot change between reading and writing it. A bucket has
none, so a write names the version that it replaces, and is refused with `Changed` if that is not there any more. Code
that writes does both, and so need not know where it is.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from functools import partial, wraps
from types import TracebackType
from typing import Final, ParamSpec, Protocol, Self, TypeVar

import pyarrow as pa

from market_data_pipeline.core.again import again
from market_data_pipeline.core.errors import StoreError, Unavailable

A = ParamSpec("A")
T = TypeVar("T")


class Changed(StoreError, Unavailable):
    """Another process has written the file since it was read: read it again, and then write."""


def patient(may_succeed: Callable[[BaseException], bool]) -> Callable[[Callable[A, T]], Callable[A, T]]:
    """Decorates what is done again after these errors, for 60 s, with random pauses, so that many writers get through.

    One try may take longer, as where all chunks are renamed, so there are three in any case. `may_succeed` is called
    once for each error.
    """

    def decorated(act: Callable[A, T]) -> Callable[A, T]:
        @wraps(act)
        def patiently(*arguments: A.args, **options: A.kwargs) -> T:
            tried = partial(act, *arguments, **options)
            return again(tried, may_succeed, within_s=60, pause_s=0.02, longest_pause_s=1, least_tries=3)

        return patiently

    return decorated


again_if_changed = patient(lambda error: isinstance(error, Changed))
"""Decorates what reads a file and writes it: it is done again if another process has written the file meanwhile."""


class StorePath(Protocol):
    """The path of a file or folder. For a folder of this machine it is a `pathlib.Path`; `str` is for people."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def stem(self) -> str:
        """The last part without its ending."""

    @property
    def suffix(self) -> str:
        """The ending of the last part, with its dot."""

    @property
    def parent(self) -> Self:
        """The folder."""

    def __truediv__(self, name: str, /) -> Self:
        """The path below this one."""

    def with_name(self, name: str, /) -> Self:
        """The path beside this one."""

    def __lt__(self, other: Self, /) -> bool:
        """By their parts."""

    def __hash__(self) -> int:
        """Equal paths have equal hashes."""


P = TypeVar("P", bound=StorePath)
"""A path and others of the same place."""


class Version(Protocol):
    """Shows whether a file has changed: two versions of a file are equal only if its content is."""

    @property
    def is_settled(self) -> bool:
        """False if the file was written so shortly before that a further change might leave an equal version."""

    def was_settled(self, at_s: float) -> bool:
        """As `is_settled` at a moment before, s since 1970: what was read after that is of this version."""

    @property
    def mark(self) -> str:
        """What a note of this version has to keep beside its time and length to know it again; often nothing."""

    @property
    def modified_ns(self) -> int:
        """When the file was written, ns since 1970 by the clock of the place."""

    @property
    def size_bytes(self) -> int:
        """How long the file is."""

    def __hash__(self) -> int:
        """Equal versions have equal hashes."""


class Unconditional(Enum):
    """The type of `ANY`."""

    ANY = "any"


ANY: Final = Unconditional.ANY
"""As an expected version: whether the file is there, and which one, does not matter."""
Expected = Version | None | Unconditional
"""The version that a write replaces; None if there must be no file yet."""


class Lock(Protocol):
    """A lock that a process may take several times, and that is free once the process has ended."""

    def acquire(self, timeout: float | None = None) -> AbstractContextManager[object]:
        """Take it until the block ends; raise an OSError if that is not possible within so many seconds."""

    def __enter__(self) -> object:
        """Take it, however long that takes."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""


class Hold(Protocol):
    """A right that one process at a time has, until it releases it or ends. Any of its threads may release it."""

    @property
    def is_mine(self) -> bool:
        """True if this object has it."""

    def acquire(self, *, within_s: float = 0) -> bool:
        """Take it, waiting so long at most; False if another object has it."""

    def release(self) -> None:
        """Give it up."""


class Storage(Protocol[P]):
    """The place of some paths. Threads may share it.

    Errors are those of a folder: `FileNotFoundError`, other `OSError`s, and `ValueError` for what is no file.
    """

    @property
    def most_at_once(self) -> int:
        """How many operations are worth starting at once: 1 for a disk, more where each one waits for a network."""

    @property
    def is_conditional(self) -> bool:
        """True if a write looks at what it expects, and equal versions are equal bytes, whatever the disks do."""

    def read(self, path: P, most_bytes: int) -> bytes:
        """The content of a file of at most so many bytes.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: there is no file, or it is too large; one line.
            OSError: it cannot be read now.
        """

    def read_version(self, path: P, most_bytes: int) -> tuple[bytes, Version | None]:
        """As `read`, with the version of this content; None if the file changed while it was read."""

    def version(self, path: P) -> Version | None:
        """The file's version now; None if there is no file."""

    def versions(self, paths: Sequence[P]) -> list[Version | None]:
        """As `version`, of several files that lie in one folder."""

    def exists(self, path: P) -> bool:
        """True if there is anything of this name, also if it cannot be read. In a bucket there are no folders."""

    def is_file(self, path: P) -> bool:
        """True if there is a file of this name."""

    def is_same(self, folder: P, other: P) -> bool:
        """True for one folder under two names: some file systems ignore case, or take letters apart."""

    def is_within(self, path: P, root: P) -> bool:
        """True if there is a file of this name, and it is below the root when all links are followed."""

    def existing(self, paths: Iterable[P]) -> list[P]:
        """Those of the paths that exist."""

    def names(self, folder: P) -> list[str]:
        """The names of files and folders that lie directly in the folder, sorted; empty if there is no folder."""

    def sizes(self, folder: P) -> dict[str, int]:
        """The files that lie directly in the folder with their sizes in bytes; empty if there is no folder."""

    def open(self, path: P) -> pa.NativeFile:
        """The file, open for reading at any position.

        If another one takes its place, it stays the same file, or reading it raises an OSError.

        Raises:
            FileNotFoundError, ValueError, OSError: as `read`.
        """

    def write(self, path: P, content: bytes, expected: Expected = ANY, *, syncs: bool = True) -> Version | None:
        """Make the file hold the content, and return its version.

        Args:
            path: the file; what is there and is no file gets out of its way under another name.
            content: all of it.
            expected: the version that it replaces. A folder does not look, as its lock keeps others from writing.
            syncs: False if the caller calls `sync` before it tells anyone that the file is there.

        Raises:
            Changed: the file is not what was expected.
            OSError: it cannot be written; it is as it was.
        """

    def sync(self, folder: P) -> None:
        """Make sure that what was written into the folder survives a power cut."""

    def append(self, path: P, last_bytes: int, addition: Callable[[bytes], bytes]) -> None:
        """Append to a file, which is made if there is none.

        Args:
            path: the file.
            last_bytes: so much of its end is given to `addition`.
            addition: gets the end of the file and returns what to append, perhaps nothing. It may be called again.

        Raises:
            OSError: it cannot be written; nobody reads what may have been.
        """

    @property
    def appends(self) -> bool:
        """True if `append_at` can make a file longer."""

    def append_at(self, path: P, content: bytes, at: int) -> None:
        """Append to a file that has `at` bytes, none if that is zero, and to which no other process appends.

        Raises:
            OSError: it cannot be written; the file has its old length again, if the disk allows that.
        """

    def streamed(self, path: P) -> AbstractContextManager[pa.NativeFile]:
        """A file to write to in the block. It gets its name after the block, or is removed if the block raised.

        Where there are locks, one process at a time may do this for a file.
        """

    def remove(self, path: P) -> None:
        """Remove the file if there is one."""

    def remove_all(self, folder: P) -> None:
        """Remove the folder and everything below it, if there is anything."""

    def copy(self, source: P, target: P) -> None:
        """Make the target a copy of the source file."""

    def move(self, source: P, target: P) -> None:
        """Give the source the name of the target. Both stay on disk until `sync` has made sure of it."""

    def make_folder(self, folder: P) -> None:
        """Make the folder and those above it that do not exist."""

    def remove_unfinished(self, folder: P, is_written_here: Callable[[str], bool]) -> None:
        """Remove what killed writers have left of the files with such names; the caller holds the files' lock."""

    def lock(self, path: P) -> Lock:
        """The lock at this path, not taken yet."""

    def hold(self, path: P, *, is_own: bool = False) -> Hold:
        """The right of this name, not taken yet.

        With `is_own` the caller has just made up the name: nobody else has the right, and its file is removed when it
        is released.
        """

    def is_held(self, path: P) -> bool:
        """Whether a process has the right of this name; False, too, if this one cannot find out."""

    def require_writable(self, root: P) -> None:
        """Make the data root exist and prove that it takes files.

        Raises:
            StoreUnavailable: it does not.
        """
