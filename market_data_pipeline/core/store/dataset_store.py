"""The files of one dataset, as those use them who load, live and repair.

Belongs here: `dataset.json`, the start and the names that follow from it, a second look under the lock, quarantine.
Does not belong here: writing chunks (`chunks.publishing`) and the manifest (`chunks.list_writing`), reading
(`chunks.listing`), what a good chunk is (`klines.checks`), when to load one (`loading`), the folders above (`root`).
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import date

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import FOREVER_MS, Span, subtract
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.chunks.publishing import ChunkWriter
from market_data_pipeline.core.store.dataset_file import read_dataset_version, write_dataset
from market_data_pipeline.core.store.note_lock import LoadLocks
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.protocol import Changed, StorePath, again_if_changed

# For which what was read counts, where no lock keeps it.
_MOMENT_S = 2.0
# The lock is held for one chunk, or for one look at a hundred.
_LONGEST_WAIT_S = 60


class DatasetStore(ChunkWriter):
    """One dataset's files. Several processes may each have one and publish different days."""

    def __init__(self, folder: StorePath, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read the folder. Nothing is written before `note_requested`, `mark_live`, `publish`, `flush`, `quarantine`.

        Args:
            folder: the dataset's.
            dataset: what it is if there is no `dataset.json` yet.
            manifest_interval_s: the least time between two writes of the manifest by `publish`.
        """
        # Before, as chunks that no manifest lists are read then, which may take minutes.
        self._refreshed_s = time.monotonic()
        super().__init__(folder, dataset, manifest_interval_s=manifest_interval_s)
        self._loads = LoadLocks(folder / layout.LOADING)

    def refresh(self) -> None:
        """Read what other processes have written since.

        Raises:
            StoreError: a newer version of this package wrote the manifest, and maybe the chunks. What it wrote would be
                taken for damage, and loaded again.
        """
        super().refresh()
        if (manifest := self._manifest).is_newer:
            raise StoreError(
                f"{manifest.path} is not used: a newer version of market-data wrote it; update market-data"
            )

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Refresh, and keep other processes from writing until the block ends, so that what looks damaged then is.

        In a bucket, and in a folder that this process may only read, there is no lock: it is a second look.
        """
        with ExitStack() as stack:
            if not self._files.is_conditional and self._files.exists(self.folder):
                with suppress(OSError):
                    stack.enter_context(self._lock.acquire(timeout=_LONGEST_WAIT_S))
            self.refresh()
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Refresh, and keep other processes from writing until the block ends; in a bucket nothing keeps them."""
        with self._lock:
            self.refresh()
            yield

    @contextmanager
    def loading(self, window: Span) -> Iterator[None]:
        """Let other processes see, while the block runs, that these minutes are being loaded."""
        with self._lock:
            lock = self._loads.begin(window)
        try:
            yield
        finally:
            lock.release()

    def being_loaded(self) -> list[Span]:
        """The minutes that loads which are under way have noted as requested; to be called in `undisturbed`."""
        return self._loads.under_way()

    def is_intact(self, day: Day) -> bool:
        """True if the day's chunk is on disk and has the sha256 of its entry; a second look decides that it is not."""
        if super().is_intact(day):
            return True
        if day.key not in self.entries:
            return False
        with self.undisturbed():
            # Where there is no lock, it may have been renamed again since.
            return self._matches_or_grew(day) or (
                self._files.is_conditional and self._was_moved(day) and self.is_intact(day)
            )

    def trusted(self, day: Day) -> Chunk | None:
        """The day's chunk if it is intact, else None; the one that this object wrote last is not read again."""
        with suppress(StoreError):
            return super().trusted(day)
        with self.undisturbed():  # it was replaced or renamed after it was found intact
            return super().trusted(day)

    def strangers(self) -> list[StorePath]:
        """Files under `chunks/` that are no chunks of this dataset, or have no entry because they break a rule."""
        with self.undisturbed():
            return super().strangers()

    def quarantine(self, path: StorePath) -> StorePath | None:
        """Move a file that is no chunk of this dataset to `quarantine/`; return where it is now, None if it is one."""
        with self.undisturbed():
            return chunk_files.set_aside(path) if path in super().strangers() else None

    @again_if_changed
    def note_requested(self, window: Span, start: date, *, reused: Span | None = None) -> None:
        """Add `window` to the requested minutes, and move the dataset's start down to `start` if that is earlier.

        `reused` is noted as `Dataset.reused`, None leaves that as it is. Also cleans up after a killed process:
        finishes a renaming of chunks, removes temporary files.
        """
        with self._lock:
            # Where no lock keeps what was just read, reading it once more tells no more, but after a refused write.
            if not self._files.is_conditional or time.monotonic() - self._refreshed_s > _MOMENT_S:
                self.refresh()
            self._refreshed_s = -math.inf
            current = self._current()
            # A dataset.json that was written anew may start after days that have chunks.
            own = [date.fromisoformat(day) for day in self._paths if day in self.entries]
            earliest = min([start, *own])
            noted = current.with_requested(window).starting_on(earliest)
            noted = replace(noted, reused=reused) if reused else noted
            if noted != current:
                self._write_dataset(noted)
            else:
                # What was found may be of a process that was killed before it did this.
                self._files.sync(self.folder)
            has_moved = self.dataset.start != current.start
            if has_moved:
                self.refresh()  # what others wrote before they could know of it has old names, too
            self._files.make_folder(self._chunks)
            self._remove_unfinished()
            if self._rename() or (has_moved and self._listed):
                self._write_manifest()

    @again_if_changed
    def note_without_klines(self, since_ms: int) -> None:
        """Take back that minutes from this instant on (ms UTC) were requested, but for those of days with a chunk."""
        if not self.dataset.requested or self.dataset.requested[-1].end_ms <= since_ms:
            return
        with self._lock:
            self.refresh()
            current = self._current()
            stored = [Span(day.start_ms, day.end_ms) for day in map(current.day, self.entries)]
            never = subtract([Span(since_ms, FOREVER_MS)], stored)
            noted = replace(current, requested=tuple(subtract(current.requested, never)))
            if noted != current:
                self._write_dataset(noted)

    @again_if_changed
    def note_ended(self, ended_ms: int | None) -> None:
        """Note `Dataset.ended_ms` of a dataset that has a file."""
        if not self.dataset.requested or self.dataset.ended_ms == ended_ms:
            return
        with self._lock:
            self._write_dataset(replace(self._current(), ended_ms=ended_ms))

    def remove_unfinished(self) -> None:
        """Remove the temporary files of killed processes."""
        with self._lock:
            self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        # Only of files that are written under this lock, now held.
        self._files.remove_unfinished(self.folder, {layout.DATASET_FILE, layout.MANIFEST_FILE}.__contains__)
        chunk_files.remove_unfinished(self._chunks)

    def _rename(self) -> bool:
        """Give each chunk the name that follows from the start; True if one had another name.

        Raises:
            Changed: another process has moved the start meanwhile.
        """
        # What is only called like a chunk of this dataset is left alone.
        own = {day: path for day, path in self._paths.items() if day in self.entries}
        if not self._files.is_conditional:
            renamed = chunk_files.rename(own, self.dataset)
            self._paths |= renamed
            return renamed != own
        start = self.dataset.start
        if self._misnamed():
            self._scan()  # by now another process may have renamed them
        wrong = self._misnamed()
        for day, path in self._not_alone([(day, path) for day, path in wrong if day in own]):
            self._bring(self.dataset.day(day), path)
        self._reread_dataset()
        self._current()  # or the file is gone, and nobody would find the chunks
        if self.dataset.start != start:
            raise Changed(f"another process has moved the start of {self.dataset.name} to {self.dataset.start}")
        return bool(wrong)

    def _misnamed(self) -> list[tuple[str, StorePath]]:
        names = [*(path.name for path in self._paths.values()), *self._others]
        return [(day, self._chunks / name) for day, name in chunk_files.misnamed(names, self.dataset)]

    def _not_alone(self, wrong: Sequence[tuple[str, StorePath]]) -> Iterator[tuple[str, StorePath]]:
        """Rename, several at once, each chunk that is the only file of its day; yield the others.

        Those are left to `_bring`, in their order: of several files of a day one has to be chosen.
        """
        files_of = Counter(day for day, _ in wrong)

        def is_renamed(found: tuple[str, StorePath]) -> bool:
            day, path = found
            target = path.with_name(layout.chunk_name(self.dataset, day))
            # Never back from a newer start.
            return files_of[day] == 1 and path.name < target.name and chunk_files.renamed(path, target)

        # All of them, before one of the others reads the start again.
        done = list(in_order(is_renamed, wrong, threads=self._files.most_at_once))
        for (day, path), is_done in zip(wrong, done, strict=True):
            if is_done:
                self._paths[day] = path.with_name(layout.chunk_name(self.dataset, day))
            else:
                yield day, path

    @again_if_changed
    def mark_live(self, live: bool) -> None:
        """Note in `dataset.json` whether live mode keeps the dataset current."""
        with self._lock:
            self._write_dataset(replace(self._current(), live=live))

    def _current(self) -> Dataset:
        """What `dataset.json` has now; where a write would notice that it has changed, what it had when it was read."""
        if self._dataset_version is None or not self._files.is_conditional:
            self._know_dataset(*read_dataset_version(self.folder / layout.DATASET_FILE))
        return self.dataset

    def _write_dataset(self, dataset: Dataset) -> None:
        """Write `dataset.json` in place of what `_current` has returned.

        Raises:
            Changed: another process has written it since; it is read again then.
        """
        expected, self._dataset_version = self._dataset_version, None
        self._know_dataset(dataset, write_dataset(self.folder, dataset, expected))
