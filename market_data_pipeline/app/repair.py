"""Repair: what a proof found wrong is collected again, and proves itself afterwards.

Belongs here: what is asked again of which source, and what each bad day was before and is now. Does not belong here:
finding out what is wrong (`operations`), loading (`loading`).
A chunk that is on disk stays until the one that takes its place has passed every rule; nothing else is touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from market_data_pipeline.app.backfill import BackfillRequest, OnDay, OnStart, backfill
from market_data_pipeline.app.combine import combine_dataset
from market_data_pipeline.app.targets import Target
from market_data_pipeline.app.verify import DatasetProof
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Kind, Span, gaps, intersect, minutes_by_kind
from market_data_pipeline.core.klines.days import Day, iso
from market_data_pipeline.core.klines.findings import COVERED
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Mended:
    """One bad day, or file: what was wrong with it, what it is now, and whether that is good."""

    what: str
    before: str
    after: str
    ok: bool


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A day to collect again: from which minute on, of which source, and why."""

    day: Day
    span: Span
    source: str
    problem: str


def repair(settings: Settings, proof: DatasetProof, *, on_start: OnStart, on_day: OnDay) -> Iterator[Mended]:
    """Mend what the proof found; yield what each bad day was and is, once all of them have been collected again."""
    dataset = proof.verification.dataset
    target = Target(dataset.market, dataset.pair, dataset.zone, named=True)
    files = store_of(settings).open(dataset)
    for path in files.strangers():
        yield Mended(path.name, "no chunk of this dataset", f"moved to {files.quarantine(path)}", ok=True)
    wrong = list(_wrong(settings, files, proof))
    failed: dict[str, str] = {}
    for days in _runs_of_days(wrong):
        asked = intersect([Span(days[0].span.start_ms, days[-1].span.end_ms)], dataset.requested) or [days[0].span]
        start, end = iso(asked[0].start_ms), iso(asked[-1].end_ms)
        request = BackfillRequest(target, start, end, align_window=False, refetch=True, strict_pair=True)
        chosen = settings.model_copy(update={"market_data_source": days[0].source})
        failed |= dict(backfill(chosen, request, on_start=on_start, on_day=on_day).failed)
    files = store_of(settings).open(dataset)
    for one in wrong:
        yield _mended(files, one, failed.get(one.day.key, ""))
    if proof.combined is Agreement.DAMAGED:
        combine_dataset(settings, target, rebuild=True)
        yield Mended("combined", proof.combined_problem or "damaged", "written anew", ok=True)


def _wrong(settings: Settings, files: DatasetStore, proof: DatasetProof) -> Iterator[_Wrong]:
    found = {day.key: [one for one in proof.verification.errors if one.day == day.key] for day in _bad_days(proof)}
    for day in _bad_days(proof):
        errors, entry = found[day.key], files.entries.get(day.key)
        if not errors and proof.crosscheck:
            # Which side is right cannot be told; the person chose whom to compare with.
            against, minutes = proof.crosscheck.against, proof.crosscheck.differing_days[day.key]
            problem = f"{minutes} minutes are other than {against} has them"
            yield _Wrong(day, Span(day.start_ms, day.end_ms), against, problem)
            continue
        start_ms = day.start_ms
        if {finding.check for finding in errors} == {COVERED}:
            start_ms = _first_missing(files, day)
        # A day that REST alone gave is asked of REST again, so that a whole chunk comes back to the byte.
        source = "rest" if entry and entry.source == "rest" else settings.market_data_source
        yield _Wrong(day, Span(start_ms, day.end_ms), source, "; ".join(finding.problem for finding in errors))


def _bad_days(proof: DatasetProof) -> list[Day]:
    dataset, differing = proof.verification.dataset, proof.crosscheck.differing_days if proof.crosscheck else {}
    keys = {day.key for day in proof.verification.bad_days} | set(differing)
    return [dataset.day(key) for key in sorted(keys)]


def _first_missing(files: DatasetStore, day: Day) -> int:
    """The first minute that is absent for no good reason."""
    try:
        chunk = files.read(day)
    except StoreError:
        return day.start_ms
    good = [absence.span for absence in chunk.footer.absences if absence.kind is not Kind.UNEXPLAINED]
    absent = gaps(open_times(chunk.klines), Span(day.start_ms, day.end_ms))
    return min((span.start_ms for span in absent if span not in good), default=day.start_ms)


def _runs_of_days(wrong: list[_Wrong]) -> Iterator[list[_Wrong]]:
    """The days in groups of one source without a day between; one that is not asked for from its start begins anew."""

    def group(numbered: tuple[int, _Wrong]) -> tuple[int, str, str]:
        number, one = numbered
        alone = "" if one.span.start_ms == one.day.start_ms else one.day.key
        return one.day.date.toordinal() - number, one.source, alone

    for _, grouped in groupby(enumerate(wrong), key=group):
        yield [one for _, one in grouped]


def _mended(files: DatasetStore, one: _Wrong, failure: str) -> Mended:
    """The day proved again: what it is now, or which kind its absent minutes end as."""
    read = verify(files, Span(one.day.start_ms, one.day.end_ms))
    absent = ", ".join(f"{count} minutes {kind}" for kind, count in minutes_by_kind(read.absences).items())
    now = f"{read.rows:,} klines" + (f", {absent}" if absent else "")
    wrong = failure or "; ".join(finding.problem for finding in read.errors)
    return Mended(one.day.key, one.problem, f"{now}: {wrong}" if wrong else now, ok=not wrong)
