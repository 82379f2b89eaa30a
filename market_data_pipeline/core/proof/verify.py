"""Verify the store: chunks match the manifest, klines keep the rules, absent minutes have a reason.

Belongs here: reading every chunk once, and a finding for each thing that is wrong. Does not belong here: the rules
themselves (`klines.checks`, `klines.anomalies`, `schema`), one day by itself (`looks`), repair (`repair`), the combined
file (`combined`).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.klines.anomalies import anomalies
from market_data_pipeline.core.klines.checks import broken_rules, flaw_problems, is_clean
from market_data_pipeline.core.klines.coverage import Absence, Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day, day_at
from market_data_pipeline.core.klines.findings import JOINED, KEEPS_SCHEMA, PLAUSIBLE, Finding, Severity
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.proof.looks import Look, days_of, looks, second_looks
from market_data_pipeline.core.proof.schema import schema, schema_problem
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.protocol import StorePath, Version
from market_data_pipeline.core.text import count_text

DAYS_TOGETHER = 100
"""How many days are checked at once: pandera is paid per call, and a hundred days are 14 MB of klines."""


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
    strangers: list[StorePath] = field(default_factory=list)
    """Files under `chunks/` that are no chunks of the dataset. They do no harm; repair moves them to quarantine."""

    read: dict[str, tuple[Version, Entry]] = field(default_factory=dict, repr=False)
    """By day, the version and the entry of each chunk that was read and is what its entry says; empty in a proof."""

    awaited: int = 0
    """Requested minutes without a chunk that a load which is under way is to load; `first_awaited` is their day."""
    first_awaited: str = ""

    def note(self, look: Look) -> None:
        """Count one day, and keep what is wrong with it."""
        self.days += 1
        self.findings += look.findings
        if look.awaited:
            self.awaited, self.first_awaited = self.awaited + look.awaited, self.first_awaited or look.day.key
        if look.entry:
            self.rows += look.entry.rows
            self.size_bytes += look.entry.size_bytes
            self.absences += look.entry.absences
            self.flaws += look.entry.flaws
        if look.chunk and look.version:
            self.read[look.day.key] = look.version, look.chunk.entry

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


def verify(store: DatasetStore, window: Span | None = None, *, fresh: Collection[str] = ()) -> Verification:
    """Read and hash every chunk of the dataset, or those of the days that `window` touches, and check each.

    `fresh` are the sha256 of chunks that this process has just written, for which the rules suffice: the schema is a
    second opinion about files of the past, and its import takes as long as hundreds of days.
    """
    result = Verification(store.dataset, strangers=store.strangers())
    with looks(store, days_of(store, window)) as found:
        note_looks(store, found, result, fresh)
    result.note_awaited()
    return result


def verify_written(
    store: DatasetStore, window: Span | None, result: Verification, written: Mapping[str, pa.Table]
) -> None:
    """Add the days that `window` touches, None for all, to a verification of others; the rules suffice for them.

    `written` has by day the klines of chunks that this process has just written. These are hashed, and not decoded.
    """
    with looks(store, days_of(store, window), written) as found:
        note_looks(store, found, result, None)


def note_looks(
    store: DatasetStore, found: Iterator[Look], result: Verification, fresh: Collection[str] | None = ()
) -> None:
    """Add looks to a verification: what seems wrong is looked at again, and klines are checked together.

    `fresh` are the sha256 of the chunks for which the rules suffice, None for all; see `verify`.
    """
    while together := list(islice(found, DAYS_TOGETHER)):
        proven = {}
        for look in second_looks(store, together):
            result.note(look)
            if look.chunk:
                proven[look.day] = look.chunk
        result.findings += _findings_together(proven, result, fresh)


def _findings_together(
    chunks: dict[Day, Chunk], result: Verification, fresh: Collection[str] | None
) -> Iterator[Finding]:
    """Findings of many days at once: broken rules, flaws and anomalies, each on its day."""
    if not chunks:
        return
    # The rules have judged flawed klines; the schema and the rules for odd values would find the same again.
    klines = {day: _without_flaws(chunk) for day, chunk in chunks.items()}
    together = pa.concat_tables(klines.values()).combine_chunks()
    broken = list(_broken(chunks, together))
    past = {} if fresh is None else {day: klines[day] for day, of in chunks.items() if of.entry.sha256 not in fresh}
    if past and schema_problem(together if len(past) == len(klines) else pa.concat_tables(past.values()), schema()):
        broken += _blamed(past)
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


def _blamed(klines: dict[Day, pa.Table]) -> Iterator[Finding]:
    """The schema problems of the days, each on the day that has it."""
    for day, table in klines.items():
        if problem := schema_problem(table, schema()):
            yield Finding(KEEPS_SCHEMA, day.key, problem)
