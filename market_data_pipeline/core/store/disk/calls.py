"""The calls by which the store changes files and folders of this machine, and who is told of each.

Belongs here: one function for each kind of change. Does not belong here: in which order they keep a file whole
(`store.atomic`), locks: their files have no content, and nobody needs them after a power cut.

The store changes nothing below a data root in another way. So whoever is told of all calls knows each state that a
power cut can leave; the tests try these states (docs/quality.md).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, NamedTuple


class Kind(StrEnum):
    """What a call did."""

    OPENED = "opened"
    """A file was opened for writing, and made if there was none; `EMPTIED` if it has no content then."""
    EMPTIED = "emptied"
    SYNCED = "synced"
    """The content of a file is on disk."""
    CUT = "cut"
    """A file lost its end."""
    RENAMED = "renamed"
    """A file got the name `target`, and what had it is gone."""
    REMOVED = "removed"
    TREE_REMOVED = "tree removed"
    """A folder is gone, with all that was in it."""
    FOLDER_MADE = "folder made"
    FOLDER_SYNCED = "folder synced"
    """The names in a folder are on disk."""


class Call(NamedTuple):
    """A change that was just made."""

    kind: Kind
    path: Path
    target: Path | None = None


Told = Callable[[Call], None]
_told: tuple[Told, ...] = ()


@contextmanager
def told(who: Told) -> Iterator[None]:
    """Call `who` after each change that this process makes in the block, in any of its threads."""
    global _told
    before = _told
    _told = (*before, who)
    try:
        yield
    finally:
        _told = before


def opened(path: Path, mode: str, *, buffering: int = -1) -> IO[bytes]:
    """The file, open for writing in a binary mode."""
    file: IO[bytes] = path.open(mode, buffering)
    _tell(Kind.EMPTIED if mode.startswith("w") else Kind.OPENED, path)
    return file


def sync(file: IO[bytes], path: Path) -> None:
    """Bring what was written into the file at this path to disk."""
    file.flush()
    os.fsync(file.fileno())
    _tell(Kind.SYNCED, path)


def cut(path: Path, size_bytes: int) -> None:
    """Take from a file what is after so many bytes."""
    os.truncate(path, size_bytes)
    _tell(Kind.CUT, path)


def rename(source: Path, target: Path) -> None:
    """Give a file another name, in place of a file that has it."""
    source.replace(target)
    _tell(Kind.RENAMED, source, target)


def remove(path: Path) -> None:
    """Remove a file if there is one."""
    path.unlink(missing_ok=True)
    _tell(Kind.REMOVED, path)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it."""
    shutil.rmtree(folder)
    _tell(Kind.TREE_REMOVED, folder)


def make_folder(folder: Path) -> None:
    """Make a folder in one that exists, unless another process has just done it."""
    folder.mkdir(exist_ok=True)
    _tell(Kind.FOLDER_MADE, folder)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk.

    Raises:
        PermissionError: this user may not read it.
        OSError: the file system cannot do that, or the disk is broken.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _tell(Kind.FOLDER_SYNCED, folder)


def _tell(kind: Kind, path: Path, target: Path | None = None) -> None:
    for who in _told:
        who(Call(kind, path, target))
