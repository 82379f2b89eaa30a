"""The states that a power cut can leave.

Belongs here: the model of a disk. Does not belong here: recording (`recording`), what has to hold (`checking`).

The model promises less than each file system that the store is used on. No order of data and names is relied on, such
as that of `data=ordered` of ext4:

- Each operation before the cut is on disk if it was synced, and may be or may not be if it was not.
- What is written into a file is on disk once the file was synced. Before that the file may have its content of the last
  sync, any later one, a part of it that ends at any byte, zeros in place of all or of any part of what is new.
- A sync of a file does not bring its name to disk, and a sync of a folder brings no content.
- The names of a folder are on disk once the folder was synced. Before that each change of a name may be on disk without
  those before and after it, but for those of the same names, which keep their order.
- A rename is atomic: it is never half there. One into another folder is the exception: the file may have both names.
- A folder whose own name is not on disk is gone with all that is in it.

Where a cut leaves more states than are asked for, some are drawn, always the same ones of the same recording.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from market_data_pipeline_tests.powerloss.recording import (
    ContentSynced,
    Made,
    Moved,
    NamesSynced,
    Operation,
    Place,
    Recording,
    Removed,
    Written,
)
from market_data_pipeline_tests.powerloss.trees import Tree

_PAGE = 4096
_TRIES = 8
# At each place where a file may end there are three states of it.
_DRAWN_OF = 4


@dataclass(frozen=True)
class Cut:
    """A state: after how many operations the power was cut, and what the disk has then."""

    at: int
    tree: Tree


@dataclass(frozen=True)
class _Change:
    """A change of names that is not on disk for certain. It needs those with the numbers `needs` to be there before."""

    number: int
    places: tuple[Place, ...]
    operation: Made | Moved | Removed
    needs: frozenset[int]
    linked: int | None


class Disk:
    """What is on disk for certain after some operations, and what may be there besides."""

    def __init__(self, before: Tree) -> None:
        self.names: dict[Place, int | None] = {}
        self.contents: dict[int, bytes] = {}
        self.written: dict[int, list[bytes]] = {}
        """By inode, what it has had since its last sync."""
        self.changes: list[_Change] = []
        self._seen: dict[Place, int | None] = {}
        self._numbers = 0
        for number, (path, content) in enumerate(sorted(before.items())):
            self.names[Place.of(path)] = None if content is None else number
            if content is not None:
                self.contents[number] = content
        self._seen = dict(self.names)

    def do(self, operation: Operation) -> None:
        """Do one operation more."""
        match operation:
            case Made(place, inode):
                self._change(operation, (place,), inode)
                if inode is not None:
                    self.contents[inode] = b""
            case Moved(source, target):
                inode = self._seen[source]
                if source.folder == target.folder:
                    self._change(operation, (source, target), inode)
                else:
                    linked = self._change(Made(target, inode), (target,), inode)
                    self._change(Removed(source), (source,), None, linked)
            case Removed(place):
                self._change(operation, (place,), None)
            case Written(inode, content):
                self.written.setdefault(inode, []).append(content)
            case ContentSynced(inode):
                if pending := self.written.pop(inode, []):
                    self.contents[inode] = pending[-1]
            case NamesSynced(folder):
                self._sync_names(folder)

    def states(self, draw: random.Random, most: int) -> Iterator[Tree]:
        """Trees that the disk may have now; all of them if they are not more than `most`, and grain allows."""
        choices = list(islice(self._chosen(draw, most), most))
        for chosen in choices:
            names = self._names(chosen)
            doubtful = sorted({inode for inode in names.values() if inode is not None and inode in self.written})
            variants = [self._variants(inode, draw, most // _DRAWN_OF + 2) for inode in doubtful]
            count = 1
            for each in variants:
                count *= len(each)
            share = max(1, most // len(choices))
            picked: Iterable[tuple[bytes, ...]] = product(*variants)
            if count > share:
                picked = (tuple(draw.choice(each) for each in variants) for _ in range(share))
            for contents in picked:
                yield self._tree(names, dict(zip(doubtful, contents, strict=True)))

    # --- inside

    def _change(
        self, operation: Made | Moved | Removed, places: tuple[Place, ...], linked: int | None, after: int | None = None
    ) -> int:
        needs = {change.number for change in self.changes if set(change.places) & set(places)}
        if after is not None:
            needs.add(after)
        self._numbers += 1
        self.changes.append(_Change(self._numbers, places, operation, frozenset(needs), linked))
        _apply(self._seen, operation, linked)
        return self._numbers

    def _sync_names(self, folder: str) -> None:
        synced = self._closed({change.number for change in self.changes if change.places[0].folder == folder})
        self.names = self._names(synced)
        self.changes = [change for change in self.changes if change.number not in synced]

    def _closed(self, numbers: set[int]) -> set[int]:
        """The changes with these numbers, and all that they need."""
        found = set(numbers)
        for change in reversed(self.changes):
            if change.number in found:
                found |= change.needs
        return found

    def _chosen(self, draw: random.Random, most: int) -> Iterator[set[int]]:
        """Sets of changes that may be on disk, without those that are not: the simple ones first, then any others."""
        every = [change.number for change in self.changes]
        seen: set[frozenset[int]] = set()

        def new(numbers: set[int]) -> bool:
            closed = frozenset(numbers)
            is_new = closed not in seen
            seen.add(closed)
            return is_new

        simple = [set(every), set(), *(set(every[:end]) for end in range(1, len(every)))]
        simple += [self._closed({number}) for number in every]
        simple += [set(every) - {number} - self._depending(number) for number in every]
        yield from (numbers for numbers in simple if new(numbers))
        idle = 0
        while idle < 4 * _TRIES and len(every) > 2:
            numbers = self._closed({number for number in every if draw.random() < draw.choice((0.2, 0.5, 0.8))})
            idle = 0 if (is_new := new(numbers)) else idle + 1
            if is_new:
                yield numbers

    def _depending(self, number: int) -> set[int]:
        found = {number}
        for change in self.changes:
            if change.needs & found:
                found.add(change.number)
        return found

    def _names(self, chosen: set[int]) -> dict[Place, int | None]:
        names = dict(self.names)
        for change in self.changes:
            if change.number in chosen:
                _apply(names, change.operation, change.linked)
        return names

    def _variants(self, inode: int, draw: random.Random, ends_drawn: int) -> list[bytes]:
        """What a file may have that was written since its last sync."""
        old, new = self.contents[inode], self.written[inode][-1]
        kept = len(old) if new.startswith(old) else 0
        found = [old, *self.written[inode], new[:kept], new[:kept] + bytes(len(new) - kept)]
        ends = {
            kept + 1,
            (kept + len(new)) // 2,
            len(new) - 1,
            *(draw.randint(kept, len(new)) for _ in range(ends_drawn)),
        }
        for end in sorted(ends):
            if kept < end < len(new):
                found += [new[:end], new[:end] + bytes(len(new) - end), new[:kept] + bytes(end - kept) + new[end:]]
        if len(new) - kept > _PAGE:
            found.append(new[:kept] + bytes(_PAGE) + new[kept + _PAGE :])
        return list(dict.fromkeys(found))

    def _tree(self, names: dict[Place, int | None], contents: dict[int, bytes]) -> dict[str, bytes | None]:
        """What can be reached from the root."""
        reached, tree = {""}, dict[str, bytes | None]()
        for place in sorted(names, key=lambda place: place.path.count("/")):
            if place.folder in reached:
                inode = names[place]
                tree[place.path] = None if inode is None else contents.get(inode, self.contents[inode])
                if inode is None:
                    reached.add(place.path)
        return tree


def _apply(names: dict[Place, int | None], operation: Made | Moved | Removed, linked: int | None) -> None:
    match operation:
        case Made(place, _):
            names[place] = linked
        case Moved(source, target):
            names.pop(source, None)
            names[target] = linked
        case Removed(place):
            names.pop(place, None)


def cuts_of(
    recording: Recording, *, most: int, since: int = 0, seed: int = 0, only: Sequence[int] = ()
) -> Iterator[Cut]:
    """Cuts after each operation from `since` on, or after those that are named, with at most so many states of each."""
    disk, draw = Disk(recording.before), random.Random(seed)
    for at in range(len(recording.operations) + 1):
        if at:
            disk.do(recording.operations[at - 1])
        # A sync leaves no state that was not possible before it, but more is promised then.
        if at >= since and (not only or at in only):
            for tree in disk.states(draw, most):
                yield Cut(at, tree)
