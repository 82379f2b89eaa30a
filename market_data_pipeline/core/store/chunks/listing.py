"""The chunks of one dataset: which are on disk, which are listed, and whether a file is what its entry describes.

Belongs here: reading a dataset's folder. Does not belong here: writing anything (`publishing`), one chunk file by
itself (`files`), the manifest's file (`manifest_file`).

A chunk on disk that the manifest does not list is read, checked and adopted: `entries` has it, the file not yet.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain

import pyarrow as pa

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.store import layout, revisions
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks import files as chunk_files
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.chunks.hashes import ChunkHashes
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.chunks.replacing import is_as_good
from market_data_pipeline.core.store.dataset_file import DatasetMissing, read_dataset_version
from market_data_pipeline.core.store.journal.segments import last_journaled_ms
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version


class ChunkList:
    """The chunks of one dataset, as they were at the last `refresh`."""

    def __init__(self, folder: StorePath, dataset: Dataset) -> None:
        """Read the folder, which need not exist."""
        self.folder = folder
        self._files = storage_of(folder)
        self.dataset = dataset
        self.warnings: list[str] = []
        """What is wrong with the manifest or with chunk files that it does not list, one line each."""
        self.journaled_ms: int | None = None
        """Open time of the newest kline in the journal, ms UTC; None if it has none of the dataset."""
        self._chunks = folder / layout.CHUNKS
        self._manifest = ManifestFile(folder / layout.MANIFEST_FILE, dataset)
        self._dataset_version: Version | None = None
        self._listed: dict[str, Entry] = {}
        self._unlisted: dict[str, Entry] = {}
        # See `chunk_files.Scan`.
        self._paths: dict[str, StorePath] = {}
        self._others: list[str] = []
        self._hashes = ChunkHashes()
        # Whether a chunk's name may not be on disk: it was not synced so far, or its process was killed before that.
        self._is_unsynced = False
        # The chunk that was written last, and the version of its file: live mode adds a minute to it each minute.
        self._last_written: tuple[StorePath, Version | None, Chunk] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have written since."""
        self.warnings.clear()
        # Before the chunks: klines leave the journal only after their chunk has them.
        self.journaled_ms = self._last_journaled_ms()
        self._dataset_was_reread()
        self._listed = dict(self._manifest.entries(warn=self.warnings.append) or {})
        self._scan()
        self._drop_replaced()
        for day in sorted(self._paths.keys() - self._listed.keys() - self._unlisted.keys()):
            self._adopt(day)
        for day in [day for day, entry in self._listed.items() if not entry.is_over]:
            self._matches_or_grew(self.dataset.day(day))

    @property
    def most_at_once(self) -> int:
        """How many chunks are worth reading or writing at once, if decoding them took no time."""
        return self._files.most_at_once

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entry of every chunk that is on disk or should be, by day."""
        return ChainMap(self._unlisted, self._listed)

    def by_day(self) -> list[Entry]:
        """The entries in the order of their days."""
        entries = self._listed | self._unlisted
        return [entries[day] for day in sorted(entries)]

    def fingerprint(self) -> str:
        """The sha256 over the day and the sha256 of each chunk: equal as long as no chunk is new, replaced or gone."""
        listed = "".join(f"{entry.day} {entry.sha256}\n" for entry in self.by_day())
        return sha256_of(listed.encode())

    @property
    def newest(self) -> Entry | None:
        """The entry of the last day that has one."""
        last = max(chain(self._listed, self._unlisted), default=None)
        return None if last is None else self.entries[last]

    @property
    def newest_open_ms(self) -> int | None:
        """Open time of the newest kline that is stored, in a chunk or in the journal, ms UTC; None for none."""
        times = [entry.last_open_time for entry in (self._listed | self._unlisted).values()]
        return max((time_ms for time_ms in (*times, self.journaled_ms) if time_ms is not None), default=None)

    def chunk_path(self, day: Day) -> StorePath:
        """Where the day's chunk is, or would be."""
        return self._paths.get(day.key) or layout.chunk_path(self.folder, self.dataset, day)

    def versions(self, days: Sequence[Day]) -> list[Version | None]:
        """The version of each day's file, None if there is no file: another version means that it was replaced."""
        return self._files.versions([self.chunk_path(day) for day in days])

    def read(self, day: Day) -> Chunk:
        """The day's chunk as it is on disk now, always read and hashed.

        Raises:
            StoreError: there is none, or it is not a whole chunk of this dataset and day.
        """
        return chunk_files.read(self.chunk_path(day), self.dataset, day)

    def read_version(self, day: Day) -> tuple[Chunk, Version | None]:
        """As `read`, with the version of its file; None if that changed while it was read."""
        versions: list[Version | None] = []

        def hashed(_day: str, path: StorePath) -> tuple[bytes, str]:
            content, version = self._files.read_version(path, MOST_CHUNK_BYTES)
            versions.append(version)
            return content, sha256_of(content)

        return chunk_files.read(self.chunk_path(day), self.dataset, day, hashed), versions[0]

    def read_written(self, day: Day, klines: pa.Table, *, is_kept: bool = False) -> Chunk:
        """As `read`, of a chunk that this process wrote from these klines: its file is hashed, and not decoded.

        It is not even read where `kept` has the day, which `is_kept` tells.

        Raises:
            StoreError: there is none, or it is not a whole chunk of this dataset and day.
        """
        entry = self.entries.get(day.key)
        if entry is None:
            return self.read(day)
        if is_kept:
            return chunk_files.of_entry(self.dataset, day, klines, entry)
        return chunk_files.written(self.chunk_path(day), self.dataset, day, klines, entry) or self.read(day)

    def kept(self, days: Sequence[Day]) -> set[str]:
        """The days whose chunk is certainly still what this process has written or read, without reading it.

        None in a folder: its disk is not relied on. An object store has compared the sha256 of what it got with the one
        that the request was signed with, keeps checksums of what it stores, and gives each content an ETag of its own.
        """
        if not self._files.is_conditional:
            return set()
        entries = ((day, self.entries.get(day.key)) for day in days)
        return self._hashes.unchanged(
            [(day.key, self.chunk_path(day), entry.sha256) for day, entry in entries if entry]
        )

    def is_intact(self, day: Day) -> bool:
        """True if the day's chunk is on disk and has the sha256 of its entry; an unchanged file is hashed once."""
        return self._matches_or_grew(day)

    def trusted(self, day: Day) -> Chunk | None:
        """The day's chunk if it is intact, else None; the one that this object wrote last is not read again."""
        return self._unread(day) or (self._read_hashed(day) if self.is_intact(day) else None)

    def revisions(self) -> list[Revision]:
        """Every revision of the dataset, in the order they were noticed; read from disk."""
        return revisions.read(self.folder, self.entries.values())

    def strangers(self) -> list[StorePath]:
        """Files under `chunks/` that are no chunks of this dataset, or have no entry because they break a rule."""
        unused = (path for day, path in self._paths.items() if day not in self.entries)
        return sorted([*unused, *(self._chunks / name for name in self._others)])

    def _matches_or_grew(self, day: Day) -> bool:
        """As `is_intact`. The chunk of a day that is not over may have been replaced: then it is adopted."""
        if self._matches(day):
            return True
        if (entry := self.entries.get(day.key)) is None:
            return False
        if entry.is_over:
            return self.is_successor(day, entry)
        self._adopt(day.key)
        return self._matches(day)

    def is_successor(self, day: Day, listed: Entry) -> bool:
        """True if the file is a chunk that was put in place of the listed one, see `replacing`; it is adopted then."""
        with suppress(StoreError):
            if self._files.is_conditional and is_as_good(chunk := self._read_hashed(day), listed, day):
                self._unlisted[day.key] = chunk.entry
                return True
        return False

    def _matches(self, day: Day) -> bool:
        entry = self.entries.get(day.key)
        try:
            return entry is not None and self._hashes.of(day.key, self.chunk_path(day)) == entry.sha256
        except (FileNotFoundError, ValueError):
            return False

    def _read_hashed(self, day: Day) -> Chunk:
        """As `read`, without hashing a file again that has not changed."""
        return chunk_files.read(self.chunk_path(day), self.dataset, day, read=self._hashes.read)

    def _unread(self, day: Day) -> Chunk | None:
        """The chunk that this object wrote last, if it is the day's and its file has not changed."""
        if self._last_written is None:
            return None
        path, version, chunk = self._last_written
        is_it = chunk.entry.day == day.key and path == self.chunk_path(day) and version == self._files.version(path)
        return chunk if is_it else None

    def _stored(self, day: Day) -> Chunk | None:
        """The chunk on disk, of any process; None if it is not what the manifest lists, or breaks a rule."""
        if last := self._unread(day):
            return last
        try:
            chunk = self._read_hashed(day)
        except StoreError:
            return None
        listed = (self._manifest.entries() or {}).get(day.key)
        if listed is not None and listed.sha256 == chunk.entry.sha256:
            return chunk
        # Without a lock, the list may have the chunk that another process has just replaced.
        if listed is not None and listed.is_over and not self._files.is_conditional:
            return None
        known = self._unlisted.get(day.key)
        if known is not None and known.sha256 == chunk.entry.sha256:
            return chunk  # its rules were checked when this object published or adopted it
        return None if chunk_files.chunk_problems(chunk.klines, chunk.footer, day) else chunk

    def _scan(self) -> None:
        self._paths, self._others = chunk_files.scan(self._chunks, self.dataset)

    def _last_journaled_ms(self) -> int | None:
        try:
            return last_journaled_ms(self.folder)
        except StoreError as error:
            self.warnings.append(str(error))
            return None

    def _reread_dataset(self) -> None:
        """Read `dataset.json` and the names of all chunks again if another process has moved the start."""
        if self._dataset_was_reread():
            self._scan()

    def _dataset_was_reread(self) -> bool:
        """Read `dataset.json` again if it has changed; True if it has. A young one is read each time."""
        path, before = self.folder / layout.DATASET_FILE, self.dataset
        if self._dataset_version is not None and self._dataset_version == self._files.version(path):
            return False
        try:
            self._know_dataset(*read_dataset_version(path))
        except DatasetMissing:
            self._dataset_version = None
            return False
        return self.dataset != before

    def _know_dataset(self, dataset: Dataset, version: Version | None) -> None:
        """Take this for what `dataset.json` has; it was read or written just now."""
        self.dataset = self._manifest.dataset = dataset
        self._dataset_version = version if version is not None and version.is_settled else None

    def _drop_replaced(self) -> None:
        """Remove from this object's unlisted entries each chunk file that another process has replaced since."""
        days = {self.dataset.day(day): entry.sha256 for day, entry in self._unlisted.items()}
        unchanged = self._hashes.unchanged([(day.key, self.chunk_path(day), sha256) for day, sha256 in days.items()])
        for day in days:
            if day.key not in unchanged and not self._matches(day):
                del self._unlisted[day.key]

    def _adopt(self, day: str) -> None:
        """Give a chunk on disk that is not listed an entry, after checking it like a new one."""
        on = self.dataset.day(day)
        try:
            chunk = self._read_hashed(on)
        except StoreError as error:
            if self._was_moved(on):
                self._adopt(day)
            elif self._files.exists(self.chunk_path(on)) or day in self._listed:
                self.warnings.append(f"{error}; no manifest lists it and it is not used")
            return
        if problems := chunk_files.chunk_problems(chunk.klines, chunk.footer, on):
            self.warnings.append(f"{self.chunk_path(on).name} is not listed and not used: {'; '.join(problems)}")
        else:
            self._unlisted[day], self._is_unsynced = chunk.entry, True

    def _was_moved(self, day: Day) -> bool:
        """True if another process has renamed the day's chunk, as it does when it moves the dataset's start."""
        before = self.chunk_path(day)
        self._scan()
        return day.key in self._paths and self._paths[day.key] != before
