"""The combined file: the klines of many chunks, in order, in one Parquet file for research.

Belongs here: which chunks a combined file has, building it, reading its footer. Does not belong here: comparing it with
its chunks (`proof.combined`), chunks themselves (`chunks.encoding`).
It is streamed, so memory does not grow with history.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.errors import StoreError, StoreUnavailable, UsageError, is_refusal
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone, day_at
from market_data_pipeline.core.klines.table import EMPTY, SCHEMA, cut
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks.encoding import WRITER_OPTIONS, footer_metadata, parse_footer
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.records import FORMAT, require_span
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Changed, StorePath, again_if_changed

ROW_GROUP_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class Selection:
    """Which klines a combined file has: those of the entries that lie within `span`; `suffix` names the file."""

    entries: tuple[Entry, ...]
    span: Span
    suffix: str

    @classmethod
    def of_all(cls, dataset: Dataset, entries: Sequence[Entry]) -> "Selection":
        """Every chunk whole; `entries` are by day, and not empty."""
        first, last = dataset.day(entries[0].day), dataset.day(entries[-1].day)
        return cls(tuple(entries), Span(first.start_ms, last.end_ms), layout.ALL_CHUNKS)

    def fingerprint(self) -> str:
        """The sha256 over every chunk's sha256 and the span: equal if and only if the files would be."""
        content = [[entry.day, entry.sha256] for entry in self.entries] + [[self.span.start_ms, self.span.end_ms]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Combined:
    """A combined file that is up to date; `built` is False if it was before the call."""

    path: StorePath
    chunks: int
    rows: int
    size_bytes: int
    fingerprint: str
    built: bool


@dataclass(frozen=True, slots=True)
class CombinedFooter:
    """The footer of a combined file: `chunks` is their number, the span is ms UTC."""

    format: Literal[1]
    market: str
    pair: str
    tz: str
    start_ms: int
    end_ms: int
    chunks: int
    fingerprint: str

    def __post_init__(self) -> None:
        require_span(self.start_ms, self.end_ms)
        if self.chunks < 1:
            raise ValueError(f"it has {self.chunks} chunks")


def require_order(from_index: int | None, to_index: int | None) -> None:
    """Refuse indexes that no chunk has, or of which the first is behind the last, whatever is stored.

    Raises:
        UsageError: they are.
    """
    for index in (from_index, to_index):
        if index is not None and index < 1:
            raise UsageError(f"{index} is the index of no chunk; the first one is 1")
    if from_index is not None and to_index is not None and from_index > to_index:
        raise UsageError(f"from index {from_index} is after to index {to_index}; give the smaller one first")


def select(
    store: DatasetStore, *, zone: Zone | None = None, from_index: int | None = None, to_index: int | None = None
) -> Selection:
    """The chunks from index to index, both included; with `zone`, cut to whole local days of that zone.

    Raises:
        UsageError: there is no chunk between them, or no whole day of the zone.
    """
    require_order(from_index, to_index)
    with store.undisturbed():  # a chunk that is not listed could be overlooked while it is renamed
        dataset, entries = store.dataset, dict(store.entries)
    days = {key: dataset.day(key) for key in sorted(entries)}
    chosen = [
        (entry, days[key])
        for key, entry in sorted(entries.items())
        if (1 if from_index is None else from_index) <= dataset.index_of(key)
        and (to_index is None or dataset.index_of(key) <= to_index)
    ]
    if not chosen:
        raise UsageError(
            f"{dataset.name} has no chunks to combine there; see market-data status, or run backfill first"
        )
    span = Span(chosen[0][1].start_ms, chosen[-1][1].end_ms)
    if zone is not None:
        first, last = day_at(zone, span.start_ms), day_at(zone, span.end_ms - MINUTE_MS)
        span = Span(
            first.start_ms if first.start_ms == span.start_ms else first.end_ms,
            last.end_ms if last.end_ms == span.end_ms else last.start_ms,
        )
    if span.start_ms >= span.end_ms:
        raise UsageError(f"{dataset.name} has no whole day of {zone.name if zone else 'the zone'} there")
    suffix = layout.combined_suffix(from_index, to_index, zone.name if zone else None)
    return Selection(tuple(entry for entry, _ in chosen), span, suffix)


@again_if_changed
def combine(
    store: DatasetStore,
    *,
    zone: Zone | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    rebuild: bool = False,
) -> Combined:
    """Build the combined file of a choice of chunks, see `select`, if it is not up to date, or if `rebuild` is set.

    Raises:
        UsageError: the choice has no chunk, or no whole day of the zone.
        StoreError: a chunk is damaged; the combined file is left as it was.
    """
    choose = partial(select, store, zone=zone, from_index=from_index, to_index=to_index)
    files, selection = storage_of(store.folder), choose()
    path = layout.combined_path(store.folder, store.dataset.token, selection.suffix)
    if not rebuild and (current := _up_to_date(path, selection)):
        return current
    files.make_folder(path.parent)
    right = files.hold(store.folder / layout.COMBINE_LOCK_FILE)
    right.acquire(within_s=math.inf)
    try:
        selection = choose()  # while this process waited, another one may have combined newer chunks
        if not rebuild and (current := _up_to_date(path, selection)):
            return current
        files.remove_unfinished(path.parent, lambda name: name.endswith(path.suffix))
        with files.streamed(path) as written:
            _write(written, store, selection)
            if not right.is_mine:
                raise Changed(f"{path} was not written: this process had been away; combine again")
    finally:
        right.release()
    built = read_combined(path)
    if built is None:
        raise StoreError(f"{path} cannot be read back after it was written; check the disk")
    return replace(built, built=True)


def _up_to_date(path: StorePath, selection: Selection) -> Combined | None:
    current = read_combined(path)
    if current is None or current.fingerprint != selection.fingerprint():
        return None
    storage_of(path).sync(path.parent)  # the process that wrote it may have been killed before it did this
    return current


def read_combined(path: StorePath) -> Combined | None:
    """The combined file by its footer; None where there is none, or it is damaged.

    Raises:
        OSError: the disk or the object store lets nobody read it now.
    """
    try:
        with storage_of(path).open(path) as opened, pq.ParquetFile(opened) as file:
            footer = parse_footer(CombinedFooter, file.metadata.metadata)
            return Combined(path, footer.chunks, file.metadata.num_rows, opened.size(), footer.fingerprint, built=False)
    except (OSError, ValueError, KeyError, TypeError, IndexError, MemoryError, pa.ArrowException) as error:
        if is_refusal(error):
            raise
        return None


def read_rows(file: pq.ParquetFile, offset: int, rows: int, columns: Sequence[str] | None = None) -> pa.Table:
    """So many rows from an offset on; row groups outside of them are not read.

    Which these are is not asked of the statistics of their columns. The footer has no checksum: a damaged one may hide
    rows by them, and pyarrow ends the whole process over some that it cannot make sense of.
    """
    groups, first_row, row = list[int](), 0, 0
    for group in range(file.num_row_groups):
        of_group = file.metadata.row_group(group).num_rows
        if row < offset + rows and offset < row + of_group:
            first_row = first_row if groups else row
            groups.append(group)
        row += of_group
    names = list(columns or SCHEMA.names)
    return (
        file.read_row_groups(groups, columns=names).slice(offset - first_row, rows) if groups else EMPTY.select(names)
    )


class ChunkReplaced(StoreError):
    """A chunk of a selection is intact and not the selected one any more."""


class ChunkRows:
    """The klines of the chunks, in order, taken in groups of any size; a few chunks are in memory at a time."""

    def __init__(self, store: DatasetStore, selection: Selection, *, newest: bool = False) -> None:
        """Read nothing yet; with `newest`, chunks that are replaced meanwhile are taken as they are then."""
        self.entries: list[Entry] = []
        """Those of the chunks that were read so far."""
        self._tables = self._read(store, selection, newest=newest)
        self._held = EMPTY

    def take(self, rows: int) -> pa.Table:
        """The next rows; fewer where the chunks end."""
        tables, count = [self._held], self._held.num_rows
        while count < rows and (table := next(self._tables, None)) is not None:
            tables.append(table)
            count += table.num_rows
        together = pa.concat_tables(tables)
        self._held = together.slice(rows)
        return together.slice(0, rows).combine_chunks()

    def _read(self, store: DatasetStore, selection: Selection, *, newest: bool) -> Iterator[pa.Table]:
        for entry in selection.entries:
            chunk = _chunk_of(store, entry, newest=newest)
            self.entries.append(chunk.entry)
            yield cut(chunk.klines, selection.span)


def _chunk_of(store: DatasetStore, entry: Entry, *, newest: bool) -> Chunk:
    day = store.dataset.day(entry.day)
    with suppress(StoreError):
        if (chunk := store.read(day)).entry.sha256 == entry.sha256:
            return chunk
    # Live mode, or a load, may have replaced it or moved the dataset's start.
    with store.undisturbed():
        try:
            chunk, now = store.read(day), store.entries.get(day.key)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise _damaged(store, str(error)) from error
        if now and chunk.entry.sha256 != now.sha256 and store.is_successor(day, now):
            now = chunk.entry
    if now is None or chunk.entry.sha256 != now.sha256:
        raise _damaged(store, f"the chunk of {entry.day} is damaged")
    if not newest and chunk.entry.sha256 != entry.sha256:
        raise ChunkReplaced(f"the chunk of {entry.day} was replaced while it was compared")
    return chunk


def _damaged(store: DatasetStore, why: str) -> StoreError:
    return StoreError(f"{store.dataset.name}: {why}; run {store.dataset.repair_command}, then combine again")


def _write(file: pa.NativeFile, store: DatasetStore, selection: Selection) -> None:
    chunks = ChunkRows(store, selection, newest=True)
    with pq.ParquetWriter(file, SCHEMA, **WRITER_OPTIONS) as writer:
        while (klines := chunks.take(ROW_GROUP_ROWS)).num_rows:
            writer.write_table(klines, row_group_size=ROW_GROUP_ROWS)
        written = replace(selection, entries=tuple(chunks.entries))
        writer.add_key_value_metadata(footer_metadata(_footer_of(store, written)))


def _footer_of(store: DatasetStore, selection: Selection) -> CombinedFooter:
    dataset = store.dataset
    return CombinedFooter(
        format=FORMAT,
        market=dataset.market.value,
        pair=dataset.pair,
        tz=dataset.zone.name,
        start_ms=selection.span.start_ms,
        end_ms=selection.span.end_ms,
        chunks=len(selection.entries),
        fingerprint=selection.fingerprint(),
    )
