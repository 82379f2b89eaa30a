"""What a command changes below its data root, call by call, and what it has promised by then.

Belongs here: the operations, the recorder at the seam of the store (`store.disk.calls`). Does not belong here: what a
power cut leaves of them (`cuts`).

A file is known by a number, its inode: its name may change. Folders are known by their path. Lock files are left out.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from market_data_pipeline.core.store.disk.calls import Call, Kind, told
from market_data_pipeline_tests.powerloss.checking import NOTHING, Promise
from market_data_pipeline_tests.powerloss.trees import Tree, is_lock


class Place(NamedTuple):
    """A name in a folder; the data root is the folder ``."""

    folder: str
    name: str

    @classmethod
    def of(cls, path: str) -> "Place":
        folder, _, name = path.rpartition("/")
        return cls(folder, name)

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}" if self.folder else self.name


@dataclass(frozen=True)
class Made:
    """A new file, which is empty, or a new folder, whose inode is None."""

    place: Place
    inode: int | None


@dataclass(frozen=True)
class Moved:
    """A file got another name."""

    source: Place
    target: Place


@dataclass(frozen=True)
class Removed:
    """A name is gone."""

    place: Place


@dataclass(frozen=True)
class Written:
    """A file has another content."""

    inode: int
    content: bytes


@dataclass(frozen=True)
class ContentSynced:
    """What was written into a file so far is on disk."""

    inode: int


@dataclass(frozen=True)
class NamesSynced:
    """The names in a folder are on disk as they are."""

    folder: str


Operation = Made | Moved | Removed | Written | ContentSynced | NamesSynced


@dataclass
class Recording:
    """All that happened: the tree before, each operation, and after how many of them something was promised."""

    before: Tree
    operations: list[Operation] = field(default_factory=list)
    promised: list[tuple[int, Promise]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """After how many operations each command ended."""

    def promise_at(self, cut: int) -> Promise:
        """What was promised before so many operations were done."""
        return next((promise for at, promise in reversed(self.promised) if at <= cut), NOTHING)

    def step_at(self, cut: int) -> int:
        """The number of the command that was running then."""
        return sum(end < cut for end in self.ends)


class Visible:
    """What processes see: all operations count at once."""

    def __init__(self, before: Tree) -> None:
        self.names: dict[str, int | None] = {}
        self.contents: dict[int, bytes] = {}
        for number, (path, content) in enumerate(sorted(before.items())):
            self.names[path] = None if content is None else number
            if content is not None:
                self.contents[number] = content

    def do(self, operation: Operation) -> None:
        """Change it by an operation."""
        match operation:
            case Made(place, inode):
                self.names[place.path] = inode
                if inode is not None:
                    self.contents[inode] = b""
            case Moved(source, target):
                self.names[target.path] = self.names.pop(source.path)
            case Removed(place):
                del self.names[place.path]
            case Written(inode, content):
                self.contents[inode] = content

    def tree(self) -> dict[str, bytes | None]:
        """The tree that they see."""
        return {path: None if inode is None else self.contents[inode] for path, inode in self.names.items()}


class Recorder:
    """Notes the changes below a data root while its block runs, after those of a recording that goes on."""

    def __init__(self, root: Path, recording: Recording) -> None:
        self.recording = recording
        self._root = root
        self._visible = Visible(recording.before)
        for operation in recording.operations:
            self._visible.do(operation)
        self._unsynced: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        with told(self._note):
            yield

    def promise(self, promise: Promise) -> None:
        """Note that this was promised to whoever had asked for it."""
        with self._lock:
            self.recording.promised.append((len(self.recording.operations), promise))

    def end_command(self) -> None:
        """Note that the command has ended."""
        self.recording.ends.append(len(self.recording.operations))

    @property
    def tree(self) -> Tree:
        """What has to be on disk if nothing has escaped it."""
        return self._visible.tree()

    # --- inside

    def _note(self, call: Call) -> None:
        if not call.path.is_relative_to(self._root) or is_lock(path := self._name(call.path)):
            return
        with self._lock:
            match call.kind:
                case Kind.OPENED | Kind.EMPTIED:
                    self._opened(path, is_emptied=call.kind is Kind.EMPTIED)
                case Kind.SYNCED | Kind.CUT:
                    self._look(self._inode(path), call.path)
                    if call.kind is Kind.SYNCED:
                        self._unsynced.discard(self._inode(path))
                        self._do(ContentSynced(self._inode(path)))
                case _:
                    self._note_names(call, path)

    def _note_names(self, call: Call, path: str) -> None:
        match call.kind:
            case Kind.RENAMED if call.target:
                # What was written since the last sync has to be known: the rename may be on disk without it.
                self._look(self._visible.names[path], call.target)
                self._do(Moved(Place.of(path), Place.of(self._name(call.target))))
            case Kind.REMOVED if path in self._visible.names:
                self._do(Removed(Place.of(path)))
            case Kind.TREE_REMOVED:
                below = [name for name in self._visible.names if name == path or name.startswith(f"{path}/")]
                for name in sorted(below, reverse=True):
                    self._do(Removed(Place.of(name)))
            case Kind.FOLDER_MADE if path not in self._visible.names and path:
                self._do(Made(Place.of(path), None))
            case Kind.FOLDER_SYNCED:
                self._do(NamesSynced(path))

    def _opened(self, path: str, *, is_emptied: bool) -> None:
        if path not in self._visible.names:
            self._do(Made(Place.of(path), max(self._visible.contents, default=-1) + 1))
        elif is_emptied and self._visible.contents[self._inode(path)]:
            self._do(Written(self._inode(path), b""))
        self._unsynced.add(self._inode(path))

    def _look(self, inode: int | None, path: Path) -> None:
        """Note what a file has now."""
        if (
            inode is not None
            and inode in self._unsynced
            and (content := path.read_bytes()) != self._visible.contents[inode]
        ):
            self._do(Written(inode, content))

    def _do(self, operation: Operation) -> None:
        self._visible.do(operation)
        self.recording.operations.append(operation)

    def _inode(self, path: str) -> int:
        inode = self._visible.names[path]
        assert inode is not None, f"{path} is a folder"
        return inode

    def _name(self, path: Path) -> str:
        name = path.relative_to(self._root).as_posix()
        return "" if name == "." else name
