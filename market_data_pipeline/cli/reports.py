"""The results of the commands about data, as people read them in a terminal.

Belongs here: words, order and colours of a result. Does not belong here: the same as JSON (`app.as_json`), live mode's
table (`live_table`).
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from market_data_pipeline.app.backfill import BackfillReport
from market_data_pipeline.app.report import Report
from market_data_pipeline.cli.console import is_one_page, out, print_json, print_warnings, styled, talk
from market_data_pipeline.core.klines.coverage import Absence, Span, minutes_by_kind, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.klines.findings import Severity
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.proof.crosscheck import CrossCheck
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.proof.repair import Repaired
from market_data_pipeline.core.store.layout import REVISIONS_FILE
from market_data_pipeline.core.text import count_text, kinds_text, size_text, told_of
from market_data_pipeline.instance.names import COMBINED

if TYPE_CHECKING:
    from market_data_pipeline.instance.runs import RunReport

_MOST_LINES = 40
_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTICE: "cyan"}


def print_backfill(report: BackfillReport, seconds: float, *, as_json: bool = False) -> None:
    """Print what a backfill did, on stdout."""
    if as_json:
        from market_data_pipeline.app.market.as_json import backfill_json

        print_json(backfill_json(report, seconds))
        return
    print_warnings(report.warnings)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items()))
    out.print(f"{report.dataset.name}  {report.first_day} to {report.last_day}, days in {report.dataset.zone.name}")
    for warning in () if is_one_page() else report.warnings:
        out.print(f"  warning   {warning}")
    out.print(f"  days      {outcomes or 'none'} in {seconds:.1f} s")
    out.print(f"  klines    {report.rows:,} in {size_text(report.size_bytes)}")
    out.print(f"  absent    {kinds_text(minutes_by_kind(report.absences))}")
    for flaw in report.flaws[:_MOST_LINES]:
        out.print(f"  flaw      {flaw.text}")
    if len(report.flaws) > _MOST_LINES:
        out.print(f"  ... and {count_text(len(report.flaws) - _MOST_LINES, 'more flaw')} (verify names all)")
    if report.revised:
        minutes = sum(total_minutes(revision.minutes) for revision in report.revised)
        days = ", ".join(revision.day for revision in report.revised[:_MOST_LINES])
        out.print(
            f"  revised   {count_text(minutes, 'minute')} with other values than before, on {days} ({REVISIONS_FILE})"
        )
    out.print(f"  where     {report.folder}")
    out.print(f"  run       {report.run_id or 'none, as there was nothing to do'}")
    # All days after an exchange that is gone fail for the same reason.
    reasons = [(error, list(failed)) for error, failed in groupby(report.failed, lambda failed: failed[1])]
    for error, failed in reasons[:_MOST_LINES]:
        (first, _), (last, _), count = failed[0], failed[-1], len(failed)
        out.print(f"  failed    {first}{f' to {last} ({count:,} days)' if count > 1 else ''}: {error}")
    if len(reasons) > _MOST_LINES:
        out.print(f"  ... and {count_text(len(reasons) - _MOST_LINES, 'more reason')} (--json has all)")
    for check in report.failed_checks:
        out.print(f"  check     {check}")
    if report.error:
        out.print(f"  error     {report.error}")


def print_proof(proof: Proof) -> None:
    """Print what verifying a dataset found: absent minutes with their reasons, then what is wrong."""
    print_warnings(proof.warnings)
    read = proof.verification
    verdict = ("good", "green") if proof.stored_is_good else ("NOT good", "red")
    days, klines = count_text(read.days, "day"), count_text(read.rows, "kline")
    out.print(styled(f"{read.dataset.name}  ", verdict, f"  {days}, {klines}, {size_text(read.size_bytes)}"))
    for absence in _joined(read.absences)[:_MOST_LINES]:
        _print_absence(absence)
    for finding in sorted(read.findings, key=lambda finding: list(_COLORS).index(finding.severity))[:_MOST_LINES]:
        color = _COLORS[finding.severity]
        severity = (f"{finding.severity:<13}", color)
        out.print(styled("  ", severity, f" {finding.day} {finding.check}: {finding.problem}"))
    for path in read.strangers[:_MOST_LINES]:
        label = (f"{'foreign file':<13}", "yellow")
        out.print(styled("  ", label, f" {path} is no chunk of this dataset; --repair moves it away"))
    if len(read.findings) > _MOST_LINES:
        out.print(f"  ... and {count_text(len(read.findings) - _MOST_LINES, 'more finding')} (--json has all)")
    if proof.crosscheck:
        _print_crosscheck(proof.crosscheck)
    if proof.combined is not Agreement.ABSENT:
        color = {Agreement.DAMAGED: "red", Agreement.OLDER: "yellow"}.get(proof.combined, "green")
        problem = f": {proof.combined_problem}" if proof.combined_problem else ""
        out.print(styled("  combined      ", (proof.combined.value, color), problem))


def _print_absence(absence: Absence) -> None:
    first, last = iso(absence.span.start_ms), iso(absence.span.end_ms - MINUTE_MS)
    out.print(f"  {absence.kind:<13} {count_text(absence.span.minutes, 'minute')} absent, {first} to {last}")
    if absence.evidence:
        out.print(f"                {'; '.join(absence.evidence)}")


def _joined(absences: Sequence[Absence]) -> list[Absence]:
    """The absences, with those that continue over midnight joined into one."""
    joined: list[Absence] = []
    for absence in absences:
        if joined and joined[-1].kind is absence.kind and joined[-1].span.end_ms == absence.span.start_ms:
            span = Span(joined[-1].span.start_ms, absence.span.end_ms)
            joined[-1] = Absence(absence.kind, span, tuple(dict.fromkeys((*joined[-1].evidence, *absence.evidence))))
        else:
            joined.append(absence)
    return joined


def _print_crosscheck(check: CrossCheck) -> None:
    minutes = sum(check.differing_days.values())
    verdict, color = f"{count_text(minutes, 'minute')} {'differs' if minutes == 1 else 'differ'}", "red"
    if check.nothing_compared:
        verdict, color = "nothing could be compared", "yellow"
    elif check.ok:
        verdict, color = "equal", "green"
    days = f"{check.days:,} of {count_text(check.of_days, 'day')}, {count_text(check.rows, 'kline')}"
    out.print(styled(f"  {check.against:<13} ", (verdict, color), f" in {days}"))
    for difference in check.differences[:_MOST_LINES]:
        out.print(f"                {difference.text(check.against)}")
    for day, reason in check.not_compared[:_MOST_LINES]:
        out.print(f"                {day} not compared: {reason}")


def print_repair(dataset: Dataset, repaired: Repaired) -> None:
    """Print on stderr what a repair made of one day or file; the result on stdout is the proof that follows."""
    verdict = ("repaired", "green") if repaired.ok else ("NOT repaired", "red")
    talk.print(styled(verdict, f" {dataset.name} {repaired.what}"))
    talk.print(f"  before  {repaired.before}")
    talk.print(f"  now     {repaired.after}")


def print_combine(dataset: Dataset, report: "RunReport", *, as_json: bool) -> None:
    """Print what combining one dataset did, and the checks that failed."""
    if as_json:
        from market_data_pipeline.app.market.as_json import combined_json

        print_json(combined_json(dataset.name, report))
        return
    print_combined(report.results[COMBINED])
    print_warnings(report.failed_checks)


def print_combined(numbers: Mapping[str, Any]) -> None:
    """Print where the combined file is and what it has, from the metadata of its materialization."""
    out.print(
        f"{numbers['file']}  {numbers['outcome']}: {count_text(numbers['dagster/row_count'], 'kline')} of "
        f"{count_text(numbers['chunks'], 'chunk')}, {size_text(numbers['bytes'])}"
    )


def print_report(report: Report, seconds: float) -> None:
    """Print what Dagster was told of."""
    stored, told = (sum(getattr(one, name) for one in report.datasets) for name in ("days", "told"))
    out.print(f"{count_text(len(report.datasets), 'dataset')}: {count_text(stored, 'day')} stored")
    manifests, combined = (sum(getattr(one, name) for one in report.datasets) for name in ("manifest", "combined"))
    files = [count_text(count, noun) for count, noun in ((manifests, "manifest"), (combined, "combined file")) if count]
    out.print(f"  told      {', '.join([count_text(told, 'day'), *files])} in {seconds:.1f} s")
    out.print(f"  run       {report.run_id or 'none, as Dagster had everything'}")
    lost = [one for one in report.datasets if one.not_stored]
    for one in lost[:_MOST_LINES]:
        days = count_text(one.not_stored, "day")
        out.print(f"  warning   {one.name}: Dagster has {days} more than is stored; backfill loads what is missing")
    for one in report.failed[:_MOST_LINES]:
        out.print(f"  failed    {told_of(one.name, one.problem)}")
    for more, what in ((lost, "warning"), (report.failed, "dataset")):
        if len(more) > _MOST_LINES:
            out.print(f"  ... and {count_text(len(more) - _MOST_LINES, f'more {what}')} (--json has all)")
