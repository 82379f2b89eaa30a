"""The files of one dataset: `dataset.json`, its chunks, and the manifest that vouches for them.

Belongs here: reading, publishing, listing and locking. Does not belong here: what a good chunk is (`checks`), when to
load one (`backfill`), the folders above (`store`).

The manifest is written seldom, so one rule makes it safe to be killed anywhere: **on disk it only lists chunks that
have not changed since they were listed.** A chunk that is about to be replaced is taken off the list first; a chunk on
disk that is not listed is read, checked and adopted at the next opening; a listed chunk that is gone or differs is
damage, and stays listed until it is repaired.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from market_data_pipeline.core import chunk, manifest
from market_data_pipeline.core.checks import broken_coverage, broken_rules
from market_data_pipeline.core.chunk import Footer
from market_data_pipeline.core.coverage import Absence, Span
from market_data_pipeline.core.dataset import Dataset
from market_data_pipeline.core.days import Day
from market_data_pipeline.core.errors import BadAnswer, StoreError
from market_data_pipeline.core.files import TEMPORARY_SUFFIX, move, sha256_of, write_whole
from market_data_pipeline.core.klines import open_times
from market_data_pipeline.core.manifest import Entry

DATASET_FILE = "dataset.json"
MANIFEST_FILE = "manifest.json"
_CHUNK_NAME = re.compile(r"chunk_\d{6,}_(\d{4}-\d{2}-\d{2})\.parquet")
_NOT_A_CHUNK = (ValueError, KeyError, TypeError, OSError)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that was read: the entry it deserves, its klines and its footer."""

    entry: Entry
    klines: pa.Table
    footer: Footer


class DatasetStore:
    """One dataset's files. Several processes may each hold one and publish different days."""

    def __init__(self, folder: Path, dataset: Dataset, *, manifest_interval_s: float) -> None:
        """Read what is there. Nothing is written before `ask`, `publish` or `flush`."""
        self.folder = folder
        self.dataset = dataset
        self.warnings: list[str] = []
        self._interval_s = manifest_interval_s
        self._flushed_at = time.monotonic()
        self._lock = FileLock(folder / ".lock")
        self._listed: dict[str, Entry] = {}
        self._unlisted: dict[str, Entry] = {}
        self._paths: dict[str, Path] = {}
        self.refresh()

    # --- reading

    def refresh(self) -> None:
        """Take note of what other processes have written since."""
        self._listed = dict(self._read_manifest())
        self._paths = self._scan_chunks()
        for day in sorted(self._paths.keys() - self._listed.keys() - self._unlisted.keys()):
            self._adopt(day)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every chunk that is there or should be, by day."""
        return {**self._listed, **self._unlisted}

    @property
    def combined_folder(self) -> Path:
        """Where combined files lie."""
        return self.folder / "combined"

    def combining(self) -> FileLock:
        """A lock for the one process that may write combined files."""
        return FileLock(self.folder / ".combine.lock")

    def chunk_path(self, day: Day) -> Path:
        """Where the day's chunk is, or would be."""
        return self._paths.get(day.key) or self.folder / "chunks" / manifest.chunk_name(self.dataset, day)

    def read(self, day: Day) -> Chunk:
        """The day's chunk as it is on disk now.

        Raises:
            StoreError: there is none, or it is not a whole chunk of this dataset and day.
        """
        path = self.chunk_path(day)
        try:
            content = path.read_bytes()
            klines, footer = chunk.decode(content)
        except FileNotFoundError:
            raise StoreError(f"the chunk {path.name} is missing") from None
        except _NOT_A_CHUNK as error:
            raise StoreError(f"the chunk {path.name} cannot be read: {_one_line(error)}") from error
        said = (footer.market, footer.pair, footer.tz, footer.day)
        if said != (self.dataset.market, self.dataset.pair, self.dataset.zone.name, day.key):
            raise StoreError(f"the chunk {path.name} says it is {' '.join(said)}")
        entry = Entry.of_chunk(day, klines, footer, size_bytes=len(content), sha256=sha256_of(content))
        return Chunk(entry, klines, footer)

    def is_intact(self, day: Day) -> bool:
        """True if the day's chunk is on disk and is, to the byte, what its entry says."""
        entry = self.entries.get(day.key)
        try:
            return entry is not None and sha256_of(self.chunk_path(day).read_bytes()) == entry.sha256
        except OSError:
            return False

    # --- writing

    def ask(self, window: Span, start: date) -> None:
        """Note that someone asked for `window`, and let the dataset start on `start` if that is earlier.

        Also ends what a killed process may have left: an unfinished renaming, temporary files.
        """
        with self._lock:
            current = Dataset.from_json(json.loads((self.folder / DATASET_FILE).read_bytes()))
            self.dataset = current.asking(window).starting_on(start)
            if self.dataset != current:
                write_dataset(self.folder, self.dataset)
            (self.folder / "chunks").mkdir(exist_ok=True)
            # Only what is written under this lock: another process may be combining.
            for folder in (self.folder, self.folder / "chunks"):
                for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
                    leftover.unlink(missing_ok=True)
            if self._rename_chunks():
                self._write_manifest()

    def publish(
        self, day: Day, klines: pa.Table, absences: Iterable[Absence], *, source: str, row_group_rows: int | None = None
    ) -> Entry:
        """Check the klines, write the day's chunk, and vouch for it.

        Raises:
            BadAnswer: the klines break a rule.
            StoreError: the chunk on disk is intact and has minutes that the new one lacks.
        """
        span = Span(day.start_ms, day.end_ms)
        footer = Footer(
            self.dataset.market, self.dataset.pair, self.dataset.zone.name, day.key, source, tuple(absences)
        )
        broken = [*broken_rules(klines, span), *broken_coverage(klines, footer.absences, span)]
        if broken:
            raise BadAnswer(f"{self.dataset.name} {day.key} was not stored: {'; '.join(broken)}")
        content = chunk.encode(klines, footer, row_group_rows=row_group_rows)
        entry = Entry.of_chunk(day, klines, footer, size_bytes=len(content), sha256=sha256_of(content))
        with self._lock:
            path = self.chunk_path(day)
            if path.exists():
                self._refuse_worse(day, klines)
                self._unlist(day, entry)
            write_whole(path, content)
        self._paths[day.key] = path
        self._unlisted[day.key] = entry
        if time.monotonic() - self._flushed_at >= self._interval_s:
            self.flush()
        return entry

    def flush(self) -> None:
        """Write the manifest if there is anything that it does not list yet."""
        self._flushed_at = time.monotonic()
        if self._unlisted or not (self.folder / MANIFEST_FILE).exists():
            with self._lock:
                self._write_manifest()

    # --- inside

    def _read_manifest(self) -> Mapping[str, Entry]:
        path = self.folder / MANIFEST_FILE
        try:
            return manifest.from_text(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            self.warnings.append(f"{path} is corrupt ({_one_line(error)}); it is rebuilt from the chunks")
            return {}

    def _scan_chunks(self) -> dict[str, Path]:
        try:
            found = [(path, _CHUNK_NAME.fullmatch(path.name)) for path in (self.folder / "chunks").iterdir()]
        except FileNotFoundError:
            return {}
        return {match[1]: path for path, match in sorted(found, key=str) if match}

    def _adopt(self, day: str) -> None:
        """Vouch for a chunk that is on disk and not listed, after checking it like a new one."""
        on = self.dataset.day(day)
        span = Span(on.start_ms, on.end_ms)
        try:
            found = self.read(on)
        except StoreError as error:
            self.warnings.append(f"{error}; no manifest lists it and it is not used")
            return
        broken = [*broken_rules(found.klines, span), *broken_coverage(found.klines, found.footer.absences, span)]
        if broken:
            self.warnings.append(f"{self.chunk_path(on).name} is not listed and not used: {'; '.join(broken)}")
        else:
            self._unlisted[day] = found.entry

    def _refuse_worse(self, day: Day, klines: pa.Table) -> None:
        if not self.is_intact(day):
            return
        lost = np.setdiff1d(open_times(self.read(day).klines), open_times(klines), assume_unique=True)
        if lost.size:
            raise StoreError(
                f"{self.dataset.name} {day.key} keeps its chunk: the exchange now lacks {lost.size} minutes that it has"
            )

    def _unlist(self, day: Day, coming: Entry) -> None:
        on_disk = self._read_manifest()
        if day.key in on_disk and on_disk[day.key].sha256 != coming.sha256 and self.is_intact(day):
            self._listed.pop(day.key, None)
            self._unlisted.pop(day.key, None)
            self._write_manifest(without=day.key)

    def _write_manifest(self, without: str | None = None) -> None:
        merged = {**self._read_manifest(), **self._unlisted}
        merged.pop(without or "", None)
        self._listed, self._unlisted = merged, {}
        write_whole(self.folder / MANIFEST_FILE, manifest.to_text(self.dataset, merged.values()).encode())

    def _rename_chunks(self) -> bool:
        """Give every chunk the name that follows from the dataset's start; True if any had another."""
        renamed = False
        for day, path in self._scan_chunks().items():
            target = path.with_name(manifest.chunk_name(self.dataset, self.dataset.day(day)))
            if path != target:
                move(path, target)
                renamed = True
        self._paths = self._scan_chunks()
        return renamed


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write `dataset.json`; the caller holds the folder's lock."""
    write_whole(folder / DATASET_FILE, (json.dumps(dataset.to_json(), indent=2) + "\n").encode())


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
