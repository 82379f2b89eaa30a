"""Writing the chunks of one dataset.

Belongs here: publishing. Does not belong here: the manifest that lists chunks (`list_writing`), `dataset.json`,
quarantine (`store.dataset_store`), reading (`listing`), what a good chunk is (`klines.checks`).

A chunk that is about to be replaced is taken off the list first; `list_writing` says why. That is a write of the whole
list, so days that are published together are taken off it together: all that will be replaced, and no other one.

No stored value is replaced without a trace: how a new chunk differs from the one on disk is in the ledger of
`revisions` before the new one takes its place. If it is refused, that line is withdrawn. A chunk that a snapshot names
is kept before (`store.snapshots`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.store import layout, revisions
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES
from market_data_pipeline.core.store.chunks.files import Chunk, NewChunk
from market_data_pipeline.core.store.chunks.first import FirstChunks
from market_data_pipeline.core.store.chunks.growing import grown_chunk
from market_data_pipeline.core.store.chunks.list_writing import ListWriter
from market_data_pipeline.core.store.chunks.replacing import Look, Overtaken, refuse_worse, until_published
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.snapshots.keeping import KeptChunks
from market_data_pipeline.core.store.storage.protocol import Changed, StorePath, Version

_MOMENT_S = 1.0  # for which a look at the start counts


class ChunkWriter(ListWriter):
    """The chunks of one dataset, to read and to write. Several processes may each have one."""

    def __init__(self, folder: StorePath, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read the folder; `manifest_interval_s` is the least time between two writes of the manifest by `publish`."""
        self.revised: dict[str, Revision] = {}
        """By day, the revision that the last `publish` of the day by this object noted."""
        self._is_together = False
        # Of days that are published together: those to come, what was found of them, those whose listing may be wrong.
        self._to_come: dict[str, NewChunk] = {}
        self._looks: dict[str, Look] = {}
        self._to_correct = set[str]()
        # The days and names of chunks written since the start was looked at, and revisions of days to publish again.
        self._written, self._looked_s = set[tuple[str, str]](), 0.0
        self._to_say_again: dict[str, Revision] = {}
        super().__init__(folder, dataset, manifest_interval_s=manifest_interval_s)
        self._first = FirstChunks(self._files)
        self._kept = KeptChunks(folder, dataset)

    @contextmanager
    def together(self, new: Sequence[NewChunk] = ()) -> Iterator[None]:
        """Publish several days under one lock, with one sync of their folder: what they are called is on disk then.

        `new` are chunks that the block publishes. In a bucket those of new days are written at once.

        Raises:
            Overtaken: another process has moved the start of the dataset meanwhile: publish them again.
        """
        with self._lock, self._manifest.undisturbed():
            # A first chunk under a name of a moment ago replaces nothing, and is renamed after that.
            if not new or time.monotonic() - self._looked_s > _MOMENT_S or not all(map(self._is_first, new)):
                self._reread_dataset()
            first = [(self.chunk_path(each.day), each) for each in new if self._is_first(each)]
            self._written |= {(each.day.key, path.name) for path, each in first}
            self._is_together, self._to_come = True, {each.day.key: each for each in new}
            self._to_correct.clear()
            try:
                with self._first.begun(first):
                    yield
            finally:
                self._is_together = False
                self._to_come.clear()
                self._looks.clear()
                self._sync_chunks()
            self._correct_list(self._to_correct)
            self._require_start()
            if self._is_flush_due:
                self.flush()

    @STORE.of("publish")
    def publish(self, new: NewChunk) -> Entry:
        """Write the day's chunk and give it an entry, which is returned; note which values it revises.

        If the chunk on disk differs in nothing but its source, it stays, and its own entry is returned.

        Raises:
            Overtaken: the chunk on disk is intact and has minutes that the new one lacks, or it is another than the one
                whose klines the new one keeps, or another process has moved the start of the dataset meanwhile.
        """
        with nullcontext() if self._is_together else self.together([new]):
            return self._published(new)

    def _published(self, new: NewChunk) -> Entry:
        day, chunk, entry = new.day, new.chunk, new.chunk.entry
        self.revised.pop(day.key, None)
        self._to_come.pop(day.key, None)
        self._name_rightly(day)
        path, stored = self.chunk_path(day), None
        version = self._first.written(path, new) if self._is_first(new) else None
        if version:
            self._written.add((day.key, path.name))
            self._last_written = path, version, chunk
        else:
            look = self._look(new)
            path, stored = look.path, look.stored
            if stored and look.is_of_another:
                self._know(stored)
                raise Overtaken(f"{self.dataset.name} {day.key}: another process goes on writing its chunk")
            if stored and look.is_equal:
                entry = stored.entry.attested(entry.state, *self._attested(stored.entry))
                version, self._is_unsynced = look.found, True
                if again := self._to_say_again.pop(new.chunk.entry.sha256, None):
                    self.revised[day.key] = again
            else:
                version = self._put(look)
        self._paths[day.key] = path
        self._unlisted[day.key] = entry
        self._hashes.note_written(day.key, version, entry.sha256)
        if stored or day.key in self._listed:
            self._to_correct.add(day.key)
        self._kept.after_replacing(stored.entry if stored else None)
        return entry

    def _look(self, new: NewChunk) -> Look:
        """What is on disk where the chunk is to be.

        It may have been looked at with an earlier day. A lock keeps it since, or the write finds out that it changed.
        """
        day, path = new.day, self.chunk_path(new.day)
        look = self._looks.pop(day.key, None)
        if look and look.new is new and look.path == path:
            return look
        found = self._files.version(path)
        stored = self._stored(day) if found else None
        name = layout.chunk_name(self.dataset, day.key)
        if stored is None and day.key not in self.entries and path.name != name:
            # What has the day in its name and another index is no chunk of this dataset, or was just renamed.
            path = self._paths[day.key] = self._chunks / name
            found = self._files.version(path)
            stored = self._stored(day) if found else None
        return Look(new, path, found, stored)

    def _attested(self, entry: Entry) -> Iterator[State]:
        """The state in the entry of this very chunk, if it has one; it may be surer than what the chunk alone gives."""
        known = self.entries.get(entry.day)
        if known is not None and known.sha256 == entry.sha256:
            yield known.state

    def _know(self, stored: Chunk) -> None:
        """Give the chunk that another process wrote an entry, so that the new one can be made again with its klines."""
        day = stored.entry.day
        self._paths[day] = self.chunk_path(self.dataset.day(day))
        listed = (self._manifest.entries() or {}).get(day)
        if listed is not None and listed.sha256 == stored.entry.sha256:
            self._unlisted.pop(day, None)
            self._listed[day] = listed
        else:
            self._unlisted[day], self._is_unsynced = stored.entry.attested(*self._attested(stored.entry)), True

    def _make_way(self, day: str) -> None:
        """Take the day's entry off the list on disk, with those of days to come whose chunks will be replaced, too."""
        if not self._to_take_off([day]):
            return
        others = self._to_take_off(self._to_come)
        self._looks |= {other: self._look(self._to_come[other]) for other in others}
        self._write_manifest([day, *(other for other in others if self._looks[other].replaces)])

    def _put(self, look: Look) -> Version | None:
        """Write the chunk's file. Before that, the stored one is compared, its revision noted, its entry unlisted."""
        new, path, found, stored, revision = look.new, look.path, look.found, look.stored, None
        if stored:
            # Live mode adds minutes to the stored ones and changes none: nothing can be lost or revised.
            if not new.chunk.klines.slice(0, stored.klines.num_rows).equals(stored.klines):
                try:
                    refuse_worse(self.dataset.name, stored, new)
                except Overtaken:
                    self._know(stored)
                    raise
                revision = revisions.note(self.folder, stored, new.chunk)
            self._kept.before_replacing(path, stored.entry)
            self._make_way(new.day.key)
        elif self._files.exists(path):
            # Without a lock, it may have been away for a moment, as another process has just renamed or replaced it.
            if self._files.is_conditional and (self._files.version(path) != found or self._stored(new.day)):
                raise Overtaken(f"{self.dataset.name} {new.day.key}: another process goes on writing its chunk")
            # It is damaged; a copy is kept for a person to look at.
            chunk_files.set_aside(path, keep=True)
        self._files.make_folder(path.parent)
        try:
            version = self._files.write(path, new.content, found, syncs=not self._is_together)
        except Changed as error:
            if revision:
                revisions.refused(self.folder, self.dataset, revision, new.chunk, self._stored(new.day))
            self._kept.after_replacing(stored.entry if stored else None)
            raise Overtaken(str(error)) from error
        if revision:
            revisions.say(self.dataset, revision)
            self.revised[revision.day] = revision
        self._written.add((new.day.key, path.name))
        self._is_unsynced |= self._is_together
        self._last_written = path, version, new.chunk
        return version

    def _is_first(self, new: NewChunk) -> bool:
        """True if no chunk of the day is known, and writing this one finds out whether there is one by now."""
        return self._files.is_conditional and new.day.key not in self._paths

    def _require_start(self) -> None:
        """Make sure that what was just written has the name that follows from the start.

        Whoever moves the start first writes it into `dataset.json`, and then renames the chunks that are there. So what
        was written before is renamed, and who writes under an old name after that notices it here.

        Raises:
            Overtaken: it has not; it is to be published again.
        """
        written, self._written = self._written, set()
        if not written or not self._files.is_conditional:
            return
        self._looked_s = time.monotonic()
        self._reread_dataset()
        # By their names, as the start may have been read again between the choice of a name and the write.
        late = {day for day, name in written if name != layout.chunk_name(self.dataset, day)}
        if not late:
            return
        for day, name in chunk_files.misnamed(self._files.names(self._chunks), self.dataset):
            if day in late:
                self._bring(self.dataset.day(day), self._chunks / name)
        self._to_say_again = {each.new_sha256: each for day, each in self.revised.items() if day in dict(written)}
        raise Overtaken(f"{self.dataset.name}: another process has moved the start to {self.dataset.start}")

    def _name_rightly(self, day: Day) -> None:
        """Finish the renaming of the day's chunk if another process has not done so yet; nothing under a lock."""
        path = self._paths.get(day.key) if self._files.is_conditional and day.key in self.entries else None
        if path and path.name != layout.chunk_name(self.dataset, day.key) and self.dataset.index_of(day.key) > 0:
            self._bring(day, path)
            self._written.add((day.key, self.chunk_path(day).name))

    def _bring(self, day: Day, source: StorePath) -> None:
        """Name a chunk by the start, or add what it has to the chunk of this name; never back from a newer start.

        Nothing is lost if it is written meanwhile: whoever does that knows an old start, and see `_require_start`.
        """
        if source.name > layout.chunk_name(self.dataset, day.key):
            self._reread_dataset()
        if source == (target := self._chunks / layout.chunk_name(self.dataset, day.key)):
            return
        try:
            content = self._files.read(source, MOST_CHUNK_BYTES)
            self._files.write(target, content, None)
        except FileNotFoundError:
            pass  # another process has just done it
        except ValueError:
            return  # no chunk
        except Changed:
            if not self._is_joined(day, source, target):
                return
        self._paths[day.key] = target
        self._files.remove(source)

    def _is_joined(self, day: Day, source: StorePath, target: StorePath) -> bool:
        """Add what only the source has to the day's chunk; False if one of the two is not whole, and both stay."""
        try:
            late = chunk_files.read(source, self.dataset, day)
        except StoreError:
            return not self._files.exists(source)
        self._kept.before_replacing(source, late.entry)

        def publish() -> bool:
            self._paths[day.key] = target
            if (stored := self._stored(day)) is None:
                return False
            if new := grown_chunk(self.dataset, day, stored, late.klines, late.footer.source):
                self.publish(new)
            return True

        if not until_published(publish):
            return False
        self._files.remove(source)
        self._kept.after_replacing(late.entry)
        return True
