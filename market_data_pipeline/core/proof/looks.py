"""A look at a day: is its chunk on disk what the manifest lists, and has each absent minute a reason?

Belongs here: the looks at many days, by threads, and second looks where something seems wrong. Does not belong here:
the rules of klines (`verify`), which days are read when (`rolling`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.checks import coverage_problems
from market_data_pipeline.core.klines.coverage import (
    Absence,
    Kind,
    Span,
    evidence_of,
    intersect,
    merge,
    span_text,
    subtract,
    total_minutes,
)
from market_data_pipeline.core.klines.days import Day, days_between
from market_data_pipeline.core.klines.findings import COVERED, JOINED, MATCHES_MANIFEST, Finding
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.protocol import Version
from market_data_pipeline.core.text import count_text

NONE: Mapping[str, pa.Table] = {}
_READERS, _DAYS_AHEAD_OF_EACH = 2, 4


@dataclass(frozen=True, slots=True)
class Look:
    """A look at one day.

    Attributes:
        day: the day.
        entry: what the manifest lists, if the chunk is that; None if it is not, or there is none.
        chunk: the chunk, if it was read and is what the entry says.
        findings: what is wrong.
        awaited: how many minutes are being loaded.
        version: that of the chunk's file that was read.
    """

    day: Day
    entry: Entry | None = None
    chunk: Chunk | None = None
    findings: tuple[Finding, ...] = ()
    awaited: int = 0
    version: Version | None = None


@contextmanager
def looks(store: DatasetStore, days: Iterable[Day], written: Mapping[str, pa.Table] = NONE) -> Iterator[Iterator[Look]]:
    """A look at each day. Files are decoded by threads, which is worth nothing where there is little to decode."""
    if written:
        days = list(days)
        kept = store.kept(days)
        yield (_look(store, day, klines=written.get(day.key), is_kept=day.key in kept) for day in days)
        return
    threads = max(_READERS, store.most_at_once)
    ahead = in_order(partial(_look, store), days, threads=threads, ahead=_DAYS_AHEAD_OF_EACH * threads)
    with closing(ahead) as found:
        yield found


def second_looks(store: DatasetStore, first: list[Look]) -> Iterator[Look]:
    """The looks, and second ones at days where something seems wrong, while no other process writes.

    At the first look another process may just have replaced or renamed the chunk, or been about to load the day.
    """
    again = {}
    if doubtful := [look for look in first if look.findings]:
        with store.undisturbed():
            loading = store.being_loaded()
            for look in doubtful:
                entry = store.entries.get(look.day.key)
                if entry and any(finding.check == MATCHES_MANIFEST for finding in look.findings):
                    store.is_successor(look.day, entry)  # then the look is at what it adopts
                again[look.day] = _look(store, look.day, loading)
    for look in first:
        yield again.get(look.day, look)


def days_of(store: DatasetStore, window: Span | None) -> list[Day]:
    """The days that have a chunk, should have one, or were requested."""
    dataset = store.dataset
    requested = dataset.requested if window is None else intersect([window], dataset.requested)
    keys = {day.key for span in requested for day in days_between(dataset.zone, span.start_ms, span.end_ms)}
    stored = (dataset.day(key) for key in store.entries)
    keys |= {day.key for day in stored if window is None or _touches(window, day)}
    return [dataset.day(key) for key in sorted(keys)]


def _touches(window: Span, day: Day) -> bool:
    return day.start_ms < window.end_ms and window.start_ms < day.end_ms


def _look(
    store: DatasetStore,
    day: Day,
    loading: Sequence[Span] = (),
    *,
    klines: pa.Table | None = None,
    is_kept: bool = False,
) -> Look:
    """What the day's chunk is now; `loading` are minutes whose load is under way, which may be absent for that.

    Where this process has written the chunk from `klines`, it is not decoded, and not read if `is_kept`.
    """
    requested = intersect([Span(day.start_ms, day.end_ms)], store.dataset.requested)
    expected = subtract(requested, loading)
    awaited = total_minutes(requested) - total_minutes(expected)
    entry = store.entries.get(day.key)
    if entry is None:
        lacks = f"no chunk for {count_text(total_minutes(expected), 'requested minute')}"
        return Look(day, findings=(Finding(JOINED, day.key, lacks),) if expected else (), awaited=awaited)
    version: Version | None = None
    try:
        if klines is None:
            chunk, version = store.read_version(day)
        else:
            chunk = store.read_written(day, klines, is_kept=is_kept)
    except StoreError as error:
        return Look(day, findings=(Finding(MATCHES_MANIFEST, day.key, str(error)),))
    if chunk.entry != entry:
        problem = f"{store.chunk_path(day).name} {_difference(chunk.entry, entry)}"
        return Look(day, findings=(Finding(MATCHES_MANIFEST, day.key, problem),))
    problems = coverage_problems(chunk.klines, chunk.footer.absences, Span(day.start_ms, day.end_ms))
    findings = (
        *(Finding(COVERED, day.key, problem) for problem in problems),
        *_unexplained(day, chunk.footer.absences, requested, loading),
    )
    return Look(day, entry, chunk, findings, version=version)


def look_at_entry(store: DatasetStore, day: Day, entry: Entry) -> Look:
    """A look at what the manifest lists of the day; its file is not read."""
    requested = intersect([Span(day.start_ms, day.end_ms)], store.dataset.requested)
    return Look(day, entry, findings=tuple(_unexplained(day, entry.absences, requested, ())))


def _difference(found: Entry, listed: Entry) -> str:
    if found.sha256 != listed.sha256:
        return f"is not the file that was written: sha256 {found.sha256[:12]}…, listed {listed.sha256[:12]}…"
    return "has the listed sha256, but the manifest describes it wrongly"


def _unexplained(
    day: Day, absences: Sequence[Absence], requested: list[Span], loading: Sequence[Span]
) -> Iterator[Finding]:
    unsettled = [absence for absence in absences if not absence.kind.is_final and not _may_be_late(day, absence)]
    # What no load has come to yet, a load that is under way may come to. What one has failed to explain is wrong now.
    unexplained = merge(absence.span for absence in unsettled if absence.kind is Kind.UNEXPLAINED)
    not_loaded = subtract(merge(absence.span for absence in unsettled), loading)
    for span in intersect(requested, merge([*unexplained, *not_loaded])):
        touching = (absence for absence in absences if intersect([absence.span], [span]))
        evidence = "; ".join(evidence_of(touching)) or "no source was asked"
        problem = f"unexplained: {span_text(span)} ({evidence})"
        yield Finding(COVERED, day.key, problem)


def _may_be_late(day: Day, absence: Absence) -> bool:
    """True for minutes that the exchange was asked for and had not yet, while the day was not over.

    They are as open as the minutes after them. Those at the end of a day that was over have to be loaded by now.
    """
    return absence.kind is Kind.OPEN and bool(absence.evidence) and absence.span.end_ms < day.end_ms
