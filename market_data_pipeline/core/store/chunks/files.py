"""The chunk files of a dataset: making the content of a new one, and finding, reading, checking and renaming files.

Belongs here: what follows from a chunk file and its dataset alone, and moving files to quarantine. Does not belong
here: what the manifest lists (`listing`), writing chunks (`publishing`), the encoding (`encoding`).
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Generic, NamedTuple

import pyarrow as pa

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.errors import BadAnswer, StoreError
from market_data_pipeline.core.klines.checks import broken_rules, coverage_problems, flaw_problems
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.klines.flaws import Flaw, named_by
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.atomic import TEMPORARY_SUFFIX, sha256_of
from market_data_pipeline.core.store.chunks import encoding as chunk_encoding
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES, Footer
from market_data_pipeline.core.store.manifest import LIVE, Entry
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Changed, P, StorePath
from market_data_pipeline.core.text import reason_text

ReadHashed = Callable[[str, StorePath], tuple[bytes, str]]
"""From a day and the path of its chunk to the file's bytes and their sha256."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The content of a chunk: its klines and its footer, and the manifest entry that follows from them."""

    entry: Entry
    klines: pa.Table
    footer: Footer


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk that keeps every rule and is ready to be written: its content and its bytes.

    `based_on` is the sha256 of the stored chunk of which it keeps klines, None if it keeps none.
    """

    day: Day
    chunk: Chunk
    content: bytes
    row_group_rows: int | None
    based_on: str | None = None


def new_chunk(
    dataset: Dataset,
    day: Day,
    klines: pa.Table,
    absences: Iterable[Absence],
    *,
    source: str,
    row_group_rows: int | None = None,
    checked: bool = False,
    said: Collection[Flaw] = (),
    based_on: str | None = None,
) -> NewChunk:
    """Check the klines against every rule and encode the day's chunk, which names their flaws. No file is touched.

    Args:
        dataset: whose chunk it is.
        day: the local day.
        klines: all klines of the day, sorted.
        absences: the reason for each minute without a kline.
        source: the names of the klines' sources, joined by `+`.
        row_group_rows: most rows of a Parquet row group, None for one group.
        checked: True if the klines passed the rules of `klines.checks` already; their coverage is checked here always.
        said: the flaws of the klines as their sources have them; they tell which sources have a flawed kline.
        based_on: see `NewChunk`.

    Raises:
        BadAnswer: a kline cannot be stored.
    """
    span = Span(day.start_ms, day.end_ms)
    problems, found = ([], []) if checked else broken_rules(klines, span)
    flawed = _named_flaws(found, said, source)
    footer = Footer(dataset.market, dataset.pair, dataset.zone.name, day.key, source, tuple(absences), flawed)
    problems += coverage_problems(klines, footer.absences, span)
    if problems:
        raise BadAnswer(f"{dataset.name} {day.key} was not stored: {'; '.join(problems)}")
    content = chunk_encoding.encode(klines, footer, row_group_rows=row_group_rows)
    entry = Entry.of_chunk(day, klines, footer, size_bytes=len(content), sha256=sha256_of(content))
    return NewChunk(day, Chunk(entry, klines, footer), content, row_group_rows, based_on)


class Scan(NamedTuple, Generic[P]):
    """The files of a folder of chunks: one for each day, and the names of all others, also of further ones of a day.

    Chunks that are being written are neither.
    """

    paths: dict[str, P]
    others: list[str]


def scan(folder: P, dataset: Dataset) -> Scan[P]:
    """What is in a folder; nothing if there is no folder.

    Of several files of a day the one counts whose index follows from the dataset's start, else the last by name. Any
    may be in use, as the renaming after an earlier start may be unfinished.
    """
    names = storage_of(folder).names(folder)
    found = _parsed(names)
    found.sort(key=lambda chunk: chunk.index == dataset.index_of(chunk.day))
    chosen = {chunk.day: str(chunk) for chunk in found}
    others = sorted(set(names).difference(chosen.values()))
    return Scan(
        {day: folder / name for day, name in chosen.items()}, [name for name in others if not _is_temporary(name)]
    )


def misnamed(names: Iterable[str], dataset: Dataset) -> list[tuple[str, str]]:
    """The days and the names of files that are called like chunks of another start, those of the latest start first."""
    wrong = [chunk for chunk in _parsed(names) if chunk.index != dataset.index_of(chunk.day)]
    return [(chunk.day, str(chunk)) for chunk in sorted(wrong, key=lambda chunk: -chunk.index)]


def _parsed(names: Iterable[str]) -> list[layout.ChunkName]:
    return [parsed for name in names if (parsed := layout.parse_chunk_name(name)) and str(parsed) == name]


def _is_temporary(name: str) -> bool:
    return name.endswith(TEMPORARY_SUFFIX) and is_chunk_or_copy(name.removesuffix(TEMPORARY_SUFFIX))


def remove_unfinished(folder: StorePath) -> None:
    """Remove the temporary files of chunks in `chunks/` and `quarantine/`. The caller holds the dataset's lock."""
    for each in (folder, folder.with_name(layout.QUARANTINE)):
        storage_of(each).remove_unfinished(each, is_chunk_or_copy)


def is_chunk_or_copy(name: str) -> bool:
    """True for the name of a chunk, or of a copy of one with a number behind its name."""
    return layout.parse_chunk_name(re.sub(r"(?<=\.parquet)\.\d+$", "", name)) is not None


def set_aside(path: P, *, keep: bool = False) -> P:
    """Move a file, or copy it with `keep`, from `chunks/` to `quarantine/` beside it; return where it is now."""
    folder, files = path.parent.with_name(layout.QUARANTINE), storage_of(path)
    files.make_folder(folder)
    names = (f"{path.name}.{number}" for number in count(1))
    # By the list: in a bucket what only has objects below it does not exist, and in a folder that may be listed and not
    # looked into, everything does.
    taken = set(files.names(folder))
    target = folder / next(name for name in chain([path.name], names) if name not in taken)
    if keep and files.is_file(path):
        files.copy(path, target)
    else:
        files.move(path, target)
        files.sync(folder)
        files.sync(path.parent)
    return target


@STORE.of("read")
def read(path: StorePath, dataset: Dataset, day: Day, read: ReadHashed | None = None) -> Chunk:
    """The day's chunk as it is on disk now.

    Args:
        path: where it is.
        dataset: whose chunk it should be.
        day: of which day it should be.
        read: from day and path to the file's bytes and their sha256; None to read and hash them here.

    Raises:
        StoreError: there is none, or it is not a whole chunk of this dataset and day.
        OSError: the disk or the object store lets nobody read it now.
    """
    with _reading(path):
        content, sha256 = (read or _read_hashed)(day.key, path)
    try:
        klines, footer = chunk_encoding.decode(content)
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    is_of = (footer.market, footer.pair, footer.tz, footer.day)
    if is_of != (dataset.market, dataset.pair, dataset.zone.name, day.key):
        raise StoreError(f"the chunk {path.name} is of {' '.join(is_of)} by its footer")
    entry = Entry.of_chunk(day, klines, footer, size_bytes=len(content), sha256=sha256)
    return Chunk(entry, klines, footer)


def written(path: StorePath, dataset: Dataset, day: Day, klines: pa.Table, entry: Entry) -> Chunk | None:
    """The day's chunk if its file has the sha256 of the entry, None if not; it was encoded from these klines.

    Raises:
        StoreError: there is no file, or it is none that a chunk can be.
        OSError: see `read`.
    """
    with _reading(path):
        _, sha256 = _read_hashed(day.key, path)
    return of_entry(dataset, day, klines, entry) if sha256 == entry.sha256 else None


def of_entry(dataset: Dataset, day: Day, klines: pa.Table, entry: Entry) -> Chunk:
    """The chunk that was encoded from these klines and has this entry."""
    named = (dataset.market, dataset.pair, dataset.zone.name, day.key)
    return Chunk(entry, klines, Footer(*named, entry.source, entry.absences, entry.flaws))


@contextmanager
def _reading(path: StorePath) -> Iterator[None]:
    """Raise what keeps the block from reading the file.

    Raises:
        StoreError: there is none, or it is none that a chunk can be.
        OSError: it cannot be read now, which says nothing of the chunk.
    """
    try:
        yield
    except FileNotFoundError:
        raise StoreError(f"the chunk {path.name} is missing") from None
    except ValueError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: StorePath, error: Exception) -> StoreError:
    return StoreError(f"the chunk {path.name} cannot be read: {reason_text(error)}")


def _read_hashed(_day: str, path: StorePath) -> tuple[bytes, str]:
    content = storage_of(path).read(path, MOST_CHUNK_BYTES)
    return content, sha256_of(content)


def chunk_problems(klines: pa.Table, footer: Footer, day: Day) -> list[str]:
    """Every rule that a chunk of these klines and this footer breaks, one line each; empty if it breaks none."""
    span = Span(day.start_ms, day.end_ms)
    problems, found = broken_rules(klines, span)
    problems += [] if problems else flaw_problems(found, footer.flaws)
    return [*problems, *coverage_problems(klines, footer.absences, span)]


def _named_flaws(found: Sequence[Flaw], said: Collection[Flaw], source: str) -> tuple[Flaw, ...]:
    """The flaws of klines, each with the sources that have it."""
    if not found:
        return ()
    names: dict[int, set[str]] = {}
    for flaw in said:
        names.setdefault(flaw.open_time, set()).update(flaw.sources)
    # A kline that ends early is a flaw only beside other minutes, which its source may not have been asked for.
    of_day = {name.replace(LIVE, "rest") for name in source.split("+")}
    return tuple(replace(flaw, sources=named_by(names.get(flaw.open_time, of_day))) for flaw in found)


def rename(paths: dict[str, P], dataset: Dataset) -> dict[str, P]:
    """Rename each chunk whose index does not follow from the dataset's start; return all paths by day."""
    names = {day: layout.chunk_name(dataset, day) for day in paths}
    named = {day: path.with_name(names[day]) for day, path in paths.items() if path.name != names[day]}
    for day, target in named.items():
        storage_of(target).move(paths[day], target)
    for folder in {target.parent for target in named.values()}:
        storage_of(folder).sync(folder)
    return {**paths, **named}


def renamed(source: P, target: P) -> bool:
    """Give a chunk in a bucket another name; False if there is a file of that name, or it is no chunk or gone."""
    files = storage_of(source)
    try:
        files.write(target, files.read(source, MOST_CHUNK_BYTES), None)
    except (FileNotFoundError, ValueError, Changed):
        return False
    files.remove(source)
    return True
