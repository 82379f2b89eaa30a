"""Repair: the days that a proof found bad are loaded again and proved again.

Belongs here: which source each bad day is loaded from, in which order, and what it was before and is now. Does not
belong here: finding out what is wrong (`proof`), loading (`load_days`).
A chunk on disk is replaced only by one that keeps every rule; nothing else is changed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

from market_data_pipeline.core.errors import MarketDataError, PairNotListed, PairNotServed, StoreError
from market_data_pipeline.core.klines.coverage import Kind, Span, gaps, intersect, minutes_by_kind
from market_data_pipeline.core.klines.days import Day, iso
from market_data_pipeline.core.klines.findings import COVERED
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.load_days import load_days
from market_data_pipeline.core.loading.plan import Load, Outcome, plan_load
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.text import count_text, refusal_of_disk


@dataclass(frozen=True, slots=True)
class Repaired:
    """One bad day or file: its name, what was wrong with it, what it is now, and whether that is good."""

    what: str
    before: str
    after: str
    ok: bool


@dataclass(frozen=True, slots=True)
class BadDay:
    """A day to load again: the minutes to request, the name of the source, and what is wrong."""

    day: Day
    span: Span
    source: str
    problem: str


def repair(
    store: DatasetStore,
    proof: Proof,
    open_source: Callable[[str], KlineSource],
    *,
    source: str,
    on_load: Callable[[Load], None],
    on_day: Callable[[DayResult], None],
) -> Iterator[Repaired]:
    """Repair what the proof found wrong; yield what each bad day or file was and is now.

    Args:
        store: the dataset's files.
        proof: what is wrong with them.
        open_source: opens the dataset's source called `rest`, `archive` or `auto`.
        source: the source of days whose chunk does not require another one.
        on_load: called with the plan of each run of days before it is loaded.
        on_day: called with each day's result.

    Raises:
        SourceUnavailable: a pair's end is proven, and the exchange cannot be asked again about it; the days that are
            damaged have been loaded again.
    """
    store.remove_unfinished()
    yield from _moved_away(store)
    bad_days = list(_bad_days(store, proof, source))
    failures: dict[str, str] = {}
    for days in _adjoining(bad_days):
        failures |= _load_again(store, days, open_source, on_load, on_day)
    for bad in _traded_again(store, proof.ended, open_source, source):
        failures |= _load_again(store, [bad], open_source, on_load, on_day, refetch=False)
        bad_days.append(bad)
    store.refresh()
    for bad in bad_days:
        yield _proved_again(store, bad, failures.get(bad.day.key, ""))
    if proof.combined is Agreement.DAMAGED:
        combine(store, rebuild=True)
        yield Repaired("combined", proof.combined_problem or "damaged", "written anew", ok=True)


def _moved_away(store: DatasetStore) -> Iterator[Repaired]:
    for path in store.strangers():
        what = "no chunk of this dataset"
        try:
            if moved := store.quarantine(path):
                yield Repaired(path.name, what, f"moved to {moved}", ok=True)
        except FileNotFoundError:
            pass  # it is gone by now; some object stores list a folder that was emptied
        except OSError as error:  # days may be repaired beside it
            yield Repaired(path.name, what, f"cannot be moved: {refusal_of_disk(error)}", ok=False)


def _bad_days(store: DatasetStore, proof: Proof, source: str) -> Iterator[BadDay]:
    for day in proof.bad_days:
        errors = [finding for finding in proof.verification.errors if finding.day == day.key]
        if not errors and proof.crosscheck:
            # Nothing proves which side is right; the user chose the source to compare with.
            against, minutes = proof.crosscheck.against, proof.crosscheck.differing_days[day.key]
            problem = f"other than {against} has them: {count_text(minutes, 'minute')}"
            yield BadDay(day, Span(day.start_ms, day.end_ms), against, problem)
            continue
        only_uncovered = {finding.check for finding in errors} == {COVERED}
        start_ms = _first_missing(store, day) if only_uncovered else day.start_ms
        entry = store.entries.get(day.key)
        # A day that was loaded from REST alone is loaded from REST again, so that its chunk is the same to the byte.
        of_day = "rest" if entry and entry.source == "rest" else source
        yield BadDay(day, Span(start_ms, day.end_ms), of_day, "; ".join(finding.problem for finding in errors))


def _traded_again(
    store: DatasetStore, ended: Sequence[Day], open_source: Callable[[str], KlineSource], name: str
) -> Iterator[BadDay]:
    """The days with a proven end after which the exchange has klines now: no end is final."""
    if not ended:
        return
    with closing(open_source(name)) as source:
        try:
            last_ms = source.life(ended[0].start_ms, between=store.dataset.reused).last_open_ms
        except (PairNotListed, PairNotServed):
            return
    for day in ended:
        entry = store.entries.get(day.key)
        absences = entry.absences if entry else ()
        # None where another process has loaded the day since it was proved.
        gone = next((found.span for found in absences if found.kind is Kind.DELISTED), None)
        if gone and (last_ms is None or last_ms >= gone.start_ms):
            problem = f"no klines after {iso(gone.start_ms)}, and the exchange has later ones now"
            yield BadDay(day, Span(gone.start_ms, day.end_ms), name, problem)


def _first_missing(store: DatasetStore, day: Day) -> int:
    """The first minute (ms UTC) of the day that is absent without a good reason; the day's start if it is damaged."""
    try:
        chunk = store.read(day)
    except StoreError:
        return day.start_ms
    good = [absence.span for absence in chunk.footer.absences if absence.kind is not Kind.UNEXPLAINED]
    absent = gaps(open_times(chunk.klines), Span(day.start_ms, day.end_ms))
    return min((span.start_ms for span in absent if span not in good), default=day.start_ms)


def _adjoining(bad_days: list[BadDay]) -> Iterator[list[BadDay]]:
    """The days in groups of one source without a day between; a day that is loaded only in part begins a group."""

    def group(numbered: tuple[int, BadDay]) -> tuple[int, str, str]:
        number, bad = numbered
        alone = "" if bad.span.start_ms == bad.day.start_ms else bad.day.key
        return bad.day.date.toordinal() - number, bad.source, alone

    for _, grouped in groupby(enumerate(bad_days), key=group):
        yield [bad for _, bad in grouped]


def _load_again(
    store: DatasetStore,
    days: Sequence[BadDay],
    open_source: Callable[[str], KlineSource],
    on_load: Callable[[Load], None],
    on_day: Callable[[DayResult], None],
    *,
    refetch: bool = True,
) -> dict[str, str]:
    """Load the days from their source; return why days failed, by day."""
    # A dataset.json of a backup may know nothing of days that have chunks: of those all minutes are loaded.
    first, last = (intersect([bad.span], store.dataset.requested) or [bad.span] for bad in (days[0], days[-1]))
    window = Span(first[0].start_ms, last[-1].end_ms)
    failures = {}
    try:
        with closing(open_source(days[0].source)) as source, store.loading(window):
            load = plan_load(store, source, window, refetch=refetch)
            on_load(load)
            for result in load_days(load):
                on_day(result)
                if result.outcome is Outcome.FAILED:
                    failures[result.day.key] = result.error or "failed"
    except MarketDataError as error:
        return {bad.day.key: str(error) for bad in days}
    return failures


def _proved_again(store: DatasetStore, bad: BadDay, failure: str) -> Repaired:
    """What the day is now, with the kinds of its absent minutes."""
    read = verify(store, Span(bad.day.start_ms, bad.day.end_ms))
    absent = ", ".join(
        f"{count_text(count, 'minute')} {kind}" for kind, count in minutes_by_kind(read.absences).items()
    )
    now = count_text(read.rows, "kline") + (f", {absent}" if absent else "")
    wrong = failure or "; ".join(finding.problem for finding in read.errors)
    return Repaired(bad.day.key, bad.problem, f"{now}: {wrong}" if wrong else now, ok=not wrong)
