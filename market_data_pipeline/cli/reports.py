"""How results look in a terminal: tables, progress, findings.

Belongs here: words and layout. Does not belong here: options (`cli`), what is true (`core`), what to do (`operations`).
Results go to stdout, talk and progress bars to stderr.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from market_data_pipeline.app.backfill import BackfillReport
from market_data_pipeline.app.repair import Mended
from market_data_pipeline.app.verify import DatasetProof
from market_data_pipeline.core.klines.coverage import Absence, minutes_by_kind, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.klines.findings import Severity
from market_data_pipeline.core.loading.load_days import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.proof.crosscheck import CrossCheck
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.combined import Agreement
from market_data_pipeline.core.store.revisions import REVISIONS_FILE
from market_data_pipeline.core.store.status import DatasetStatus
from market_data_pipeline.core.text import kinds_text, size_text

out = Console(highlight=False, soft_wrap=True)
talk = Console(stderr=True, highlight=False, soft_wrap=True)
_MOST_LINES = 40
_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTICE: "cyan"}
_STATUS_COLUMNS: dict[str, Literal["left", "right"]] = {
    "market": "left",
    "pair": "left",
    "zone": "left",
    "days": "left",
    "chunks": "right",
    "incomplete": "right",
    "klines": "right",
    "size": "right",
    "state": "left",
    "absent minutes": "left",
}
_LOG_EVERY_S = 10.0


class DayProgress:
    """A bar over the days of a load, with rate, time left and weight used; without a terminal, a line now and then."""

    def __init__(self) -> None:
        self._console = _console_of_its_own()
        self._bar = Progress(
            BarColumn(bar_width=16),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} days {task.fields[what]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._source: KlineSource | None = None
        self._total = self._days = self._klines = 0
        self._started = self._logged = time.monotonic()

    def on_start(self, dataset: Dataset, days: int, source: KlineSource) -> None:
        """A load of this many days begins."""
        self._source, self._name, self._total = source, dataset.name, days
        self._days = self._klines = 0
        self._started = self._logged = time.monotonic()
        if self._console.is_terminal:
            self._console.print(f"loading {dataset.name}: {days:,} days")
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(dataset.name, total=days, what="starting")
            self._bar.start()

    def on_day(self, result: DayResult) -> None:
        """A day is done."""
        self._days += 1
        if result.outcome is Outcome.LOADED and result.entry:
            self._klines += result.entry.rows
        if result.outcome is Outcome.FAILED:
            self._console.print(f"[red]{result.day.key} failed:[/red] {result.error}")
        if self._task is not None:
            what = "checking" if self._days == self._total else self._figures()
            self._bar.update(self._task, advance=1, what=what)
        elif time.monotonic() - self._logged >= _LOG_EVERY_S:
            self._logged = time.monotonic()
            self._console.print(f"{self._name}: {self._days} of {self._total} days, {self._figures()}")

    def stop(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.stop()

    def _figures(self) -> str:
        rate = self._klines / max(0.001, time.monotonic() - self._started)
        usage = self._source.usage() if self._source else None
        weight = f" weight {usage.used}/{usage.limit}" if usage else ""
        return f"{self._klines:,} klines {rate:,.0f}/s{weight}"


def _console_of_its_own() -> Console:
    """Stderr by another name: Dagster sends what a step writes to stderr itself into the step's log."""
    try:
        file = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")
    except (OSError, ValueError, AttributeError):
        return talk
    return Console(file=file, highlight=False, soft_wrap=True)


@contextmanager
def day_progress() -> Iterator[DayProgress]:
    """A progress bar that is gone when the block ends."""
    progress = DayProgress()
    try:
        yield progress
    finally:
        progress.stop()


def print_json(content: object) -> None:
    """For programs."""
    print(json.dumps(content, indent=2))  # noqa: T201


def print_warnings(warnings: Sequence[str]) -> None:
    """On stderr, so that they cannot be overlooked."""
    for warning in warnings:
        talk.print(f"[bold yellow]WARNING[/bold yellow] {warning}")


def print_backfill(report: BackfillReport, seconds: float) -> None:
    """What a backfill did."""
    print_warnings(report.warnings)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items()))
    out.print(f"{report.dataset.name}  {report.first_day} to {report.last_day}, days in {report.dataset.zone.name}")
    for warning in report.warnings:
        out.print(f"  warning   {warning}")
    out.print(f"  days      {outcomes or 'none'} in {seconds:.1f} s")
    out.print(f"  klines    {report.rows:,} in {size_text(report.size_bytes)}")
    out.print(f"  absent    {kinds_text(minutes_by_kind(report.absences))}")
    if report.revised:
        minutes = sum(total_minutes(revision.minutes) for revision in report.revised)
        days = ", ".join(revision.day for revision in report.revised[:_MOST_LINES])
        out.print(f"  revised   {minutes:,} minutes have other values than before, on {days} ({REVISIONS_FILE})")
    out.print(f"  where     {report.folder}")
    out.print(f"  run       {report.run_id or 'none, as there was nothing to do'}")
    for day, error in report.failed[:_MOST_LINES]:
        out.print(f"  failed    {day}: {error}")
    for check in report.failed_checks:
        out.print(f"  check     {check}")
    if report.error:
        out.print(f"  error     {report.error}")


def print_proof(proof: DatasetProof) -> None:
    """What verifying a dataset found: first what is absent and why, then what is wrong."""
    print_warnings(proof.warnings)
    read = proof.verification
    days = "1 day" if read.days == 1 else f"{read.days:,} days"
    verdict = "[green]good[/green]" if proof.ok else "[red]NOT good[/red]"
    out.print(f"{read.dataset.name}  {verdict}  {days}, {read.rows:,} klines, {size_text(read.size_bytes)}")
    for absence in _merged(read.absences)[:_MOST_LINES]:
        last_ms = absence.span.end_ms - 60_000
        when = f"{iso(absence.span.start_ms)} to {iso(last_ms)}"
        out.print(f"  {absence.kind:<13} {absence.span.minutes} minutes absent, {when}")
        if absence.evidence:
            out.print(f"                {'; '.join(absence.evidence)}")
    for finding in sorted(read.findings, key=lambda finding: list(_COLORS).index(finding.severity))[:_MOST_LINES]:
        color = _COLORS[finding.severity]
        out.print(f"  [{color}]{finding.severity:<13}[/{color}] {finding.day} {finding.check}: {finding.problem}")
    for path in read.strangers[:_MOST_LINES]:
        out.print(f"  [yellow]{'stranger':<13}[/yellow] {path} is no chunk of this dataset; --repair moves it away")
    if len(read.findings) > _MOST_LINES:
        out.print(f"  ... and {len(read.findings) - _MOST_LINES} findings more (--json has all)")
    if proof.crosscheck:
        _print_crosscheck(proof.crosscheck)
    if proof.combined is not Agreement.ABSENT:
        color = {Agreement.DAMAGED: "red", Agreement.OLDER: "yellow"}.get(proof.combined, "green")
        out.print(f"  combined      [{color}]{proof.combined}[/{color}] {proof.combined_problem}".rstrip())


def _print_crosscheck(compared: CrossCheck) -> None:
    color = "green" if compared.ok else "red"
    verdict = "equal" if compared.ok else f"{sum(compared.differing_days.values()):,} minutes differ"
    days = f"{compared.days:,} of {compared.of_days:,} days, {compared.rows:,} klines"
    out.print(f"  {compared.against:<13} [{color}]{verdict}[/{color}] in {days}")
    for difference in compared.differences[:_MOST_LINES]:
        out.print(f"                {difference.text(compared.against)}")
    for day, reason in compared.not_compared[:_MOST_LINES]:
        out.print(f"                {day} not compared: {reason}")


def print_mended(dataset: Dataset, mended: Mended) -> None:
    """What a repair made of one day or file, as talk: the proof follows."""
    verdict = "[green]repaired[/green]" if mended.ok else "[red]NOT repaired[/red]"
    talk.print(f"{verdict} {dataset.name} {mended.what}")
    talk.print(f"  before  {mended.before}")
    talk.print(f"  now     {mended.after}")


def _merged(absences: Sequence[Absence]) -> list[Absence]:
    """Absences that go on over midnight as one."""
    from market_data_pipeline.core.klines.coverage import Span

    merged: list[Absence] = []
    for absence in absences:
        if merged and merged[-1].kind is absence.kind and merged[-1].span.end_ms == absence.span.start_ms:
            span = Span(merged[-1].span.start_ms, absence.span.end_ms)
            merged[-1] = Absence(absence.kind, span, tuple(dict.fromkeys((*merged[-1].evidence, *absence.evidence))))
        else:
            merged.append(absence)
    return merged


def print_statuses(statuses: Sequence[DatasetStatus]) -> None:
    """One line per dataset, never cut, however narrow the terminal; then one for each that was revised."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, justify in _STATUS_COLUMNS.items():
        table.add_column(name, justify=justify, no_wrap=True)
    for status in statuses:
        print_warnings(status.warnings)
        dataset, incomplete = status.dataset, status.chunks - status.complete_chunks
        table.add_row(
            dataset.market.value,
            dataset.pair,
            dataset.zone.name,
            f"{status.first_day} .. {status.last_day}" if status.chunks else "none",
            f"{status.chunks:,}",
            f"{incomplete:,}" if incomplete else "-",
            f"{status.rows:,}",
            size_text(status.size_bytes),
            ", ".join(f"{count:,} {state}" for state, count in status.states.items()) or "-",
            kinds_text(status.absent_minutes),
        )
    Console(width=max(out.width, 200), highlight=False).print(table)
    for status in statuses:
        if last := status.last_revision:
            times = "once" if status.revisions == 1 else f"{status.revisions:,} times"
            out.print(
                f"{status.dataset.name}  stored values revised {times}, last noticed {last.at}: "
                f"{total_minutes(last.minutes)} min of {last.day} (all in {status.folder / REVISIONS_FILE})"
            )


def print_combined(numbers: Mapping[str, Any]) -> None:
    """A combined file that is up to date."""
    out.print(
        f"{numbers['file']}  {numbers['outcome']}: {numbers['dagster/row_count']:,} klines of "
        f"{numbers['chunks']} chunks, {size_text(numbers['bytes'])}"
    )
