"""A day as its pages have it, and after its absent minutes were requested again: nothing that was told gets lost."""

from collections.abc import Callable

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.flaws import BadRow, Flaw
from market_data_pipeline.core.klines.table import EMPTY
from market_data_pipeline.core.loading.fetch import FetchedDay, recheck
from market_data_pipeline.core.loading.plan import Task
from market_data_pipeline.core.sources.pages_by_day import DayKlines
from market_data_pipeline.core.sources.protocol import Recheck
from market_data_pipeline_tests.core.fakes import REST, day, klines_of, span, whole

DAY = day("2024-03-05")
TASK = Task(DAY, (whole(DAY),))
GAP = span("2024-03-05T04:00Z", "2024-03-05T04:03Z")
LATER = span("2024-03-05T20:00Z", "2024-03-05T20:01Z")
KNOWN, NEW = Flaw(DAY.start_ms, "known", 1.0, ("rest",)), Flaw(GAP.start_ms, "new", 2.0, ("rest",))
BAD = BadRow(GAP.start_ms + MINUTE_MS, "price is no number", "row", ("archive",))
MALFORMED = Absence(Kind.MALFORMED, Span(BAD.minute, BAD.minute + MINUTE_MS), ("archive: price is no number: row",))


class Again:
    """A source of which only the second answer about a gap is asked."""

    def __init__(self, answer: Callable[[Span], Recheck]) -> None:
        self.answer, self.asked = answer, list[Span]()

    def recheck(self, gap: Span) -> Recheck:
        self.asked.append(gap)
        return self.answer(gap)


def fetched(*without: Span, checked: bool = False, flaws: tuple[Flaw, ...] = ()) -> FetchedDay:
    read = DayKlines(klines_of(whole(DAY), without=without), REST, checked, flaws)
    return FetchedDay.of_pages(TASK, read)


def again(source: Again, of: FetchedDay, settled_ms: int = DAY.end_ms) -> FetchedDay:
    return recheck(source, of, settled_ms)  # type: ignore[arg-type]


def test_a_day_has_what_its_pages_have() -> None:
    of_pages = fetched(GAP, checked=True, flaws=(KNOWN,))
    assert (of_pages.task, of_pages.sources, of_pages.checked, of_pages.flaws) == (TASK, REST, True, (KNOWN,))
    assert of_pages.absences == ()
    assert of_pages.unchecked(DAY.end_ms) == [GAP]


def test_a_minute_with_nothing_but_a_row_that_cannot_be_stored_is_malformed() -> None:
    read = DayKlines(klines_of(whole(DAY), without=[GAP]), REST, bad_rows=(BAD,))
    of_pages = FetchedDay.of_pages(TASK, read)
    assert of_pages.absences == (MALFORMED,)
    beside = [Span(GAP.start_ms, BAD.minute), Span(BAD.minute + MINUTE_MS, GAP.end_ms)]
    assert of_pages.unchecked(DAY.end_ms) == beside


def test_a_minute_that_has_a_kline_too_is_not_malformed() -> None:
    read = DayKlines(klines_of(whole(DAY)), REST, bad_rows=(BAD,))
    assert FetchedDay.of_pages(TASK, read).absences == ()


def test_klines_of_the_second_answer_come_with_their_sources_and_flaws() -> None:
    source = Again(lambda gap: Recheck(klines_of(gap), frozenset({"archive"}), flaws=(NEW,)))
    whole_day = again(source, fetched(GAP, LATER, checked=True, flaws=(KNOWN,)))
    assert whole_day.klines.equals(klines_of(whole(DAY)))
    assert whole_day.sources == {"archive", "rest"}
    assert whole_day.flaws == (KNOWN, NEW, NEW)
    assert (whole_day.checked, whole_day.absences) == (False, ())
    assert source.asked == [GAP, LATER]


def test_what_is_proven_of_absent_minutes_is_kept_with_its_evidence() -> None:
    source = Again(lambda gap: Recheck(EMPTY, evidence=("none",), kind=Kind.OUTAGE))
    without = again(source, fetched(GAP, checked=True, flaws=(KNOWN,)))
    assert without.absences == (Absence(Kind.OUTAGE, GAP, ("none",)),)
    assert (without.task, without.checked, without.flaws, without.sources) == (TASK, True, (KNOWN,), REST)
    assert source.asked == [GAP]


def test_minutes_beside_a_row_that_cannot_be_stored_are_asked_for_alone() -> None:
    def answer(gap: Span) -> Recheck:
        bad = (BAD,) if gap == GAP else ()
        return Recheck(EMPTY, evidence=("none",), kind=Kind.SUSPENDED, bad_rows=bad)

    source = Again(answer)
    before, after = Span(GAP.start_ms, BAD.minute), Span(BAD.minute + MINUTE_MS, GAP.end_ms)
    found = again(source, fetched(GAP))
    assert source.asked == [GAP, before, after]
    assert found.absences == (MALFORMED, *(Absence(Kind.SUSPENDED, each, ("none",)) for each in (before, after)))


@pytest.mark.parametrize("settled", ["2024-03-05T04:00Z", "2024-03-05T04:02Z"])
def test_minutes_that_are_not_settled_are_not_asked_for_again(settled: str) -> None:
    settled_ms = span(settled, "2024-03-06").start_ms
    source = Again(lambda gap: Recheck(EMPTY, kind=Kind.OUTAGE))
    again(source, fetched(GAP, LATER), settled_ms)
    assert source.asked == ([Span(GAP.start_ms, settled_ms)] if settled_ms > GAP.start_ms else [])


def test_a_source_that_gives_one_more_minute_each_time_is_not_asked_for_ever() -> None:
    wide = span("2024-03-05T04:00Z", "2024-03-05T05:00Z")
    source = Again(lambda gap: Recheck(klines_of(Span(gap.start_ms, gap.start_ms + MINUTE_MS)), REST))
    found = again(source, fetched(wide))
    assert len(source.asked) == 5
    assert found.unchecked(DAY.end_ms) == [Span(wide.start_ms + 5 * MINUTE_MS, wide.end_ms)]
