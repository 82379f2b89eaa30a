"""Every minute without a kline gets one reason, whatever the pair's life, earlier loads and the exchange say of it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.loading.absences import explained
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.plan import Task
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline_tests.core.fakes import REST, UTC_ZONE, at, day, klines_of, span, whole

DAY = day("2024-03-05")
DATASET = Dataset(Market.SPOT, "BTC/USDT", UTC_ZONE, date(2024, 3, 1), requested=(whole(DAY),))
LIVING = Life(at("2017-08-17T04:00Z"), None)
GAP = span("2024-03-05T04:00Z", "2024-03-05T04:10Z")
LATER = span("2024-03-05T20:00Z", "2024-03-05T20:05Z")
NOON = at("2024-03-05T12:00Z")


def fetched(
    *absences: Absence, without: Iterable[Span] = (GAP,), asked: tuple[Span, ...] = (whole(DAY),)
) -> FetchedDay:
    return FetchedDay(Task(DAY, asked), klines_of(whole(DAY), without=without), REST, absences)


def reasons(
    of: FetchedDay,
    *,
    stored: tuple[Absence, ...] = (),
    life: Life = LIVING,
    settled_ms: int = DAY.end_ms,
    requested: tuple[Span, ...] = (whole(DAY),),
) -> list[Absence]:
    entry = Entry(DAY.key, 0, 1440, None, None, stored, "rest", 1, "ab" * 32, State.CONFIRMED) if stored else None
    return explained(replace(DATASET, requested=requested), of.klines, of, entry, life, settled_ms)


def test_a_whole_day_has_no_absences() -> None:
    assert reasons(fetched(without=()), life=Life(DAY.end_ms, None)) == []


def test_an_absence_that_nothing_explains_keeps_the_evidence_of_who_was_asked() -> None:
    asked = Absence(Kind.UNEXPLAINED, GAP, ("rest: none",))
    assert reasons(fetched(asked)) == [asked]
    assert reasons(fetched()) == [Absence(Kind.UNEXPLAINED, GAP)]


def test_minutes_that_the_exchange_may_be_late_with_are_open_only_after_the_last_kline() -> None:
    tail = Span(LATER.start_ms, DAY.end_ms)
    late = Absence(Kind.OPEN, Span(tail.start_ms, LATER.end_ms), ("rest: none",))
    rest = Absence(Kind.OPEN, Span(LATER.end_ms, DAY.end_ms))
    assert reasons(fetched(late, without=[tail]), settled_ms=LATER.end_ms) == [late, rest]
    assert reasons(fetched(late, without=[LATER])) == [Absence(Kind.UNEXPLAINED, LATER, late.evidence)]


def test_minutes_before_the_first_kline_and_after_the_last_are_outside_of_the_life() -> None:
    first, last = GAP.end_ms, LATER.start_ms - MINUTE_MS
    of = fetched(without=[Span(DAY.start_ms, first), Span(LATER.start_ms, DAY.end_ms)])
    assert reasons(of, life=Life(first, last, ended=True)) == [
        Absence(Kind.NOT_LISTED, Span(DAY.start_ms, first)),
        Absence(Kind.DELISTED, Span(LATER.start_ms, DAY.end_ms)),
    ]
    # A pair that is paused has not ended.
    paused = reasons(of, life=Life(first, last))
    assert paused[1] == Absence(Kind.UNEXPLAINED, Span(LATER.start_ms, DAY.end_ms))


def test_the_minute_before_the_last_kline_is_inside_of_the_life() -> None:
    last = LATER.end_ms
    outage = Absence(Kind.OUTAGE, LATER, ("archive: none",))
    of = fetched(outage, without=[LATER, Span(last + MINUTE_MS, DAY.end_ms)])
    assert reasons(of, life=Life(LIVING.first_open_ms, last, ended=True)) == [
        outage,
        Absence(Kind.DELISTED, Span(last + MINUTE_MS, DAY.end_ms)),
    ]
    unproven = fetched(without=[LATER, Span(last + MINUTE_MS, DAY.end_ms)])
    assert reasons(unproven, life=Life(LIVING.first_open_ms, last, ended=True))[0] == Absence(Kind.UNEXPLAINED, LATER)


def test_minutes_between_two_pairs_of_one_symbol_were_not_listed() -> None:
    between = Span(GAP.start_ms + MINUTE_MS, GAP.end_ms)
    life = replace(LIVING, between=between)
    assert reasons(fetched(), life=life) == [
        Absence(Kind.UNEXPLAINED, Span(GAP.start_ms, between.start_ms)),
        Absence(Kind.NOT_LISTED, between),
    ]


def test_minutes_that_are_not_settled_are_open_unless_they_are_proven() -> None:
    of = fetched(Absence(Kind.UNEXPLAINED, LATER, ("rest: none",)), without=[GAP, LATER])
    assert reasons(of, settled_ms=LATER.start_ms + MINUTE_MS) == [
        Absence(Kind.UNEXPLAINED, GAP),
        Absence(Kind.UNEXPLAINED, Span(LATER.start_ms, LATER.start_ms + MINUTE_MS), ("rest: none",)),
        Absence(Kind.OPEN, Span(LATER.start_ms + MINUTE_MS, LATER.end_ms)),
    ]
    for kind in (Kind.OUTAGE, Kind.SUSPENDED):
        proven = Absence(kind, LATER, ("status: halted",))
        assert reasons(fetched(proven, without=[LATER]), settled_ms=NOON) == [proven]


def test_minutes_of_a_pause_are_open_while_its_day_is_not_over() -> None:
    paused = replace(LIVING, last_open_ms=GAP.start_ms - MINUTE_MS)
    assert reasons(fetched(), life=paused, settled_ms=NOON) == [Absence(Kind.OPEN, GAP)]
    assert reasons(fetched(), life=paused) == [Absence(Kind.UNEXPLAINED, GAP)]
    assert reasons(fetched(), settled_ms=NOON) == [Absence(Kind.UNEXPLAINED, GAP)]
    # A pause that begins after the settled minutes does not make them last longer.
    late = replace(LIVING, last_open_ms=LATER.end_ms)
    assert reasons(fetched(without=[LATER]), life=late, settled_ms=NOON) == [Absence(Kind.OPEN, LATER)]


def test_minutes_that_nobody_asked_for_say_so() -> None:
    asked = Span(DAY.start_ms, LATER.start_ms)
    after = Span(LATER.start_ms, DAY.end_ms)
    of = fetched(without=[GAP, after], asked=(asked,))
    assert reasons(of, requested=(asked,)) == [Absence(Kind.UNEXPLAINED, GAP), Absence(Kind.NOT_REQUESTED, after)]


def test_what_an_earlier_load_found_out_counts_for_minutes_that_were_not_requested_now() -> None:
    for kind in (Kind.OUTAGE, Kind.SUSPENDED, Kind.MALFORMED, Kind.UNEXPLAINED):
        known = Absence(kind, GAP, ("archive: none",))
        of = fetched(Absence(Kind.OUTAGE, LATER, ("rest: none",)), without=[GAP, LATER], asked=(LATER,))
        assert reasons(of, stored=(known,)) == [known, Absence(Kind.OUTAGE, LATER, ("rest: none",))]


def test_what_was_requested_now_is_not_explained_by_an_earlier_load() -> None:
    half = Span(GAP.start_ms, GAP.start_ms + 5 * MINUTE_MS)
    known = Absence(Kind.OUTAGE, GAP, ("archive: none",))
    assert reasons(fetched(asked=(half,)), stored=(known,)) == [
        Absence(Kind.UNEXPLAINED, half),
        Absence(Kind.OUTAGE, Span(half.end_ms, GAP.end_ms), ("archive: none",)),
    ]


@pytest.mark.parametrize("kind", [Kind.OUTAGE, Kind.SUSPENDED, Kind.MALFORMED])
@pytest.mark.parametrize("left", [(Kind.OUTAGE, Kind.SUSPENDED), (Kind.SUSPENDED,), ()])
def test_what_was_proven_stays_where_nothing_refutes_it(kind: Kind, left: tuple[Kind, ...]) -> None:
    known, silent = Absence(kind, GAP, ("archive: none",)), Absence(Kind.UNEXPLAINED, GAP, ("archive: no answer",))
    of = replace(fetched(silent), unrefuted=tuple(Absence(each, GAP) for each in left))
    assert reasons(of, stored=(known,)) == [known if kind in left else silent]


def test_an_end_that_an_earlier_load_saw_does_not_count() -> None:
    """The life says it now."""
    stored = (Absence(Kind.NOT_LISTED, GAP), Absence(Kind.OPEN, LATER))
    of = fetched(without=[GAP, LATER], asked=())
    assert reasons(of, stored=stored) == [Absence(Kind.UNEXPLAINED, GAP), Absence(Kind.UNEXPLAINED, LATER)]
