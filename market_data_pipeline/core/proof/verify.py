"""Verify the store: chunks match the manifest, klines keep the rules, absent minutes have a reason.

Belongs here: reading every chunk once, and a finding for each thing that is wrong. Does not belong here: the rules
themselves (`klines.checks`, `klines.anomalies`, `schema`), repair (`repair`), the combined file (`combined`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.anomalies import anomalies
from market_data_pipeline.core.klines.checks import broken_rules, coverage_problems, flaw_problems, is_clean
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
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day, day_at, days_between
from market_data_pipeline.core.klines.findings import (
    COVERED,
    JOINED,
    KEEPS_SCHEMA,
    MATCHES_MANIFEST,
    PLAUSIBLE,
    Finding,
    Severity,
)
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.proof.schema import schema, schema_problem
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.text import count_text

if TYPE_CHECKING:
    import pandera.pandas as pandera

DAYS_TOGETHER = 100
"""How many days are checked at once: pandera is paid per call, and a hundred days are 14 MB of klines."""
_READERS, _DAYS_AHEAD = 2, 8
_NONE: Mapping[str, pa.Table] = {}


@dataclass(slots=True)
class Verification:
    """What was read, and the findings. Without an error among them the dataset is good."""

    dataset: Dataset
    days: int = 0
    rows: int = 0
    size_bytes: int = 0
    absences: list[Absence] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    strangers: list[Path] = field(default_factory=list)
    """Files under `chunks/` that are no chunks of the dataset. They do no harm; repair moves them to quarantine."""

    awaited: int = 0
    """Requested minutes without a chunk that a load which is under way is to load; `first_awaited` is their day."""
    first_awaited: str = ""

    def note(self, look: "_Look") -> None:
        """Count one day, and keep what is wrong with it."""
        self.days += 1
        self.findings += look.findings
        if look.awaited:
            self.awaited, self.first_awaited = self.awaited + look.awaited, self.first_awaited or look.day.key
        if look.chunk:
            self.rows += look.chunk.entry.rows
            self.size_bytes += look.chunk.entry.size_bytes
            self.absences += look.chunk.entry.absences
            self.flaws += look.chunk.entry.flaws

    def note_awaited(self) -> None:
        """Tell of the minutes that are being loaded, once all days are counted."""
        if self.awaited:
            awaits = f"{count_text(self.awaited, 'requested minute')} from here on: a load of them is under way"
            self.findings.append(Finding(JOINED, self.first_awaited, awaits, Severity.NOTICE))

    @property
    def ok(self) -> bool:
        """True if nothing is damaged and nothing is unexplained."""
        return not self.errors

    @property
    def errors(self) -> list[Finding]:
        """The findings that are wrong beyond doubt."""
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]

    @property
    def bad_days(self) -> list[Day]:
        """The days with errors, in order."""
        return [self.dataset.day(key) for key in sorted({finding.day for finding in self.errors})]

    def of(self, check: str) -> list[Finding]:
        """The findings of one check."""
        return [finding for finding in self.findings if finding.check == check]


def verify(store: DatasetStore, window: Span | None = None) -> Verification:
    """Read and hash every chunk of the dataset, or those of the days that `window` touches, and check each."""
    result = Verification(store.dataset, strangers=store.strangers())
    verify_days(store, window, result)
    result.note_awaited()
    return result


def verify_days(
    store: DatasetStore, window: Span | None, result: Verification, written: Mapping[str, pa.Table] = _NONE
) -> None:
    """Add the days that `window` touches, None for all, to a verification of others.

    `written` has by day the klines of chunks that this process has just written. These are hashed, and not decoded, and
    the rules suffice for them: the schema is a second opinion about files of the past.
    """
    expected = None if written else schema()
    with _looks(store, _days(store, window), written) as looks:
        while together := list(islice(looks, DAYS_TOGETHER)):
            proven = {}
            for look in _second_looks(store, together):
                result.note(look)
                if look.chunk:
                    proven[look.day] = look.chunk
            result.findings += _findings_together(proven, result, expected)


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at one day: its chunk if that matches its entry, what is wrong, and how many minutes are being loaded."""

    day: Day
    chunk: Chunk | None
    findings: tuple[Finding, ...] = ()
    awaited: int = 0


@contextmanager
def _looks(store: DatasetStore, days: Iterable[Day], written: Mapping[str, pa.Table]) -> Iterator[Iterator[_Look]]:
    """A look at each day. Files are decoded by threads, which is worth nothing where there is little to decode."""
    if written:
        yield (_look(store, day, klines=written.get(day.key)) for day in days)
        return
    with ThreadPoolExecutor(_READERS) as readers:
        yield _look_ahead(store, days, readers)


def _look_ahead(store: DatasetStore, days: Iterable[Day], readers: ThreadPoolExecutor) -> Iterator[_Look]:
    """A look at each day, a few days ahead: reading and decoding need no lock."""
    waiting = (readers.submit(_look, store, day) for day in days)
    reading = deque(islice(waiting, _DAYS_AHEAD))
    while reading:
        future = reading.popleft()
        reading.extend(islice(waiting, 1))
        yield future.result()


def _second_looks(store: DatasetStore, looks: list[_Look]) -> Iterator[_Look]:
    """The looks, and second ones at days where something seems wrong, while no other process writes.

    At the first look another process may just have replaced or renamed the chunk, or been about to load the day.
    """
    again = {}
    if doubtful := [look.day for look in looks if look.findings]:
        with store.undisturbed():
            loading = store.being_loaded()
            again = {day: _look(store, day, loading) for day in doubtful}
    for look in looks:
        yield again.get(look.day, look)


def _days(store: DatasetStore, window: Span | None) -> list[Day]:
    """The days that have a chunk, should have one, or were requested."""
    dataset = store.dataset
    requested = dataset.requested if window is None else intersect([window], dataset.requested)
    keys = {day.key for span in requested for day in days_between(dataset.zone, span.start_ms, span.end_ms)}
    stored = (dataset.day(key) for key in store.entries)
    keys |= {day.key for day in stored if window is None or _touches(window, day)}
    return [dataset.day(key) for key in sorted(keys)]


def _touches(window: Span, day: Day) -> bool:
    return day.start_ms < window.end_ms and window.start_ms < day.end_ms


def _look(store: DatasetStore, day: Day, loading: Sequence[Span] = (), *, klines: pa.Table | None = None) -> _Look:
    """What the day's chunk is now; `loading` are minutes whose load is under way, which may be absent for that."""
    requested = intersect([Span(day.start_ms, day.end_ms)], store.dataset.requested)
    expected = subtract(requested, loading)
    awaited = total_minutes(requested) - total_minutes(expected)
    entry = store.entries.get(day.key)
    if entry is None:
        lacks = f"no chunk for {count_text(total_minutes(expected), 'requested minute')}"
        return _Look(day, None, (Finding(JOINED, day.key, lacks),) if expected else (), awaited)
    try:
        chunk = store.read(day) if klines is None else store.read_written(day, klines)
    except StoreError as error:
        return _Look(day, None, (Finding(MATCHES_MANIFEST, day.key, str(error)),))
    if chunk.entry != entry:
        problem = f"{store.chunk_path(day).name} {_difference(chunk.entry, entry)}"
        return _Look(day, None, (Finding(MATCHES_MANIFEST, day.key, problem),))
    return _Look(day, chunk, tuple(_uncovered(day, chunk, requested, loading)))


def _difference(found: Entry, listed: Entry) -> str:
    if found.sha256 != listed.sha256:
        return f"is not the file that was written: sha256 {found.sha256[:12]}…, listed {listed.sha256[:12]}…"
    return "has the listed sha256, but the manifest describes it wrongly"


def _uncovered(day: Day, chunk: Chunk, requested: list[Span], loading: Sequence[Span]) -> Iterator[Finding]:
    for problem in coverage_problems(chunk.klines, chunk.footer.absences, Span(day.start_ms, day.end_ms)):
        yield Finding(COVERED, day.key, problem)
    unsettled = [absence for absence in chunk.footer.absences if not absence.kind.is_final]
    # What no load has come to yet, a load that is under way may come to. What one has failed to explain is wrong now.
    unexplained = merge(absence.span for absence in unsettled if absence.kind is Kind.UNEXPLAINED)
    not_loaded = subtract(merge(absence.span for absence in unsettled), loading)
    for span in intersect(requested, merge([*unexplained, *not_loaded])):
        touching = (absence for absence in chunk.footer.absences if intersect([absence.span], [span]))
        evidence = "; ".join(evidence_of(touching)) or "no source was asked"
        problem = f"unexplained: {span_text(span)} ({evidence})"
        yield Finding(COVERED, day.key, problem)


def _findings_together(
    chunks: dict[Day, Chunk], result: Verification, expected: "pandera.DataFrameSchema | None"
) -> Iterator[Finding]:
    """Findings of many days at once: broken rules, flaws and anomalies, each on its day."""
    if not chunks:
        return
    # The rules have judged flawed klines; the schema and the rules for odd values would find the same again.
    klines = {day: _without_flaws(chunk) for day, chunk in chunks.items()}
    together = pa.concat_tables(klines.values()).combine_chunks()
    broken = list(_broken(chunks, together))
    if expected and schema_problem(together, expected):
        broken += _blamed(klines, expected)
    yield from broken
    for day, chunk in chunks.items():
        for flaw in chunk.footer.flaws:
            yield Finding(PLAUSIBLE, day.key, f"kept though it breaks a rule: {flaw.text}", Severity.WARNING)
    # A day with errors is loaded again anyway.
    wrong = {finding.day for finding in (*result.errors, *broken)}
    sound = [table for day, table in klines.items() if day.key not in wrong]
    if sound:
        table = together if len(sound) == len(klines) else pa.concat_tables(sound)
        for anomaly in anomalies(table, result.dataset.market):
            day = day_at(result.dataset.zone, anomaly.span.start_ms)
            yield Finding(PLAUSIBLE, day.key, anomaly.problem, anomaly.severity)


def _without_flaws(chunk: Chunk) -> pa.Table:
    if not chunk.footer.flaws:
        return chunk.klines
    flawed = [flaw.open_time for flaw in chunk.footer.flaws]
    return chunk.klines.filter(~np.isin(open_times(chunk.klines), flawed))


def _broken(chunks: dict[Day, Chunk], together: pa.Table) -> Iterator[Finding]:
    """The rules that each day breaks, but for the flaws that its footer names.

    All days are checked at once first, as nearly always none breaks any.
    """
    named = any(chunk.footer.flaws for chunk in chunks.values())
    if not named and is_clean(together) and all(_lies_within(chunk.klines, day) for day, chunk in chunks.items()):
        return
    for day, chunk in chunks.items():
        problems, found = broken_rules(chunk.klines, Span(day.start_ms, day.end_ms))
        for problem in problems or flaw_problems(found, chunk.footer.flaws):
            yield Finding(KEEPS_SCHEMA, day.key, problem)


def _lies_within(klines: pa.Table, day: Day) -> bool:
    times = open_times(klines)
    return not len(times) or bool(day.start_ms <= times[0] and times[-1] < day.end_ms)


def _blamed(klines: dict[Day, pa.Table], expected: "pandera.DataFrameSchema") -> Iterator[Finding]:
    """The schema problems of the days, each on the day that has it."""
    for day, table in klines.items():
        if problem := schema_problem(table, expected):
            yield Finding(KEEPS_SCHEMA, day.key, problem)
