"""Spans, gaps and absences behave as the sets of minutes that they stand for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market_data_pipeline.core.klines.coverage import (
    Absence,
    Kind,
    Span,
    explain,
    gaps,
    intersect,
    merge,
    minutes_by_kind,
    subtract,
    total_minutes,
)
from market_data_pipeline.core.klines.days import MINUTE_MS

MINUTES = 60


def span(start: int, end: int) -> Span:
    return Span(start * MINUTE_MS, end * MINUTE_MS)


def minutes_of(spans: list[Span]) -> set[int]:
    return {ms // MINUTE_MS for one in spans for ms in range(one.start_ms, one.end_ms, MINUTE_MS)}


def open_times(minutes: set[int]) -> np.ndarray:
    return np.array(sorted(minutes), np.int64) * MINUTE_MS


def is_tidy(spans: list[Span]) -> bool:
    """Sorted, disjoint, not touching, not empty."""
    apart = all(before.end_ms < after.start_ms for before, after in zip(spans, spans[1:], strict=False))
    return apart and all(one.start_ms < one.end_ms for one in spans)


spans = st.lists(
    st.tuples(st.integers(0, MINUTES), st.integers(0, MINUTES)).map(lambda ends: span(min(ends), max(ends))), max_size=6
)
minute_sets = st.sets(st.integers(0, MINUTES - 1))
given_kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.UNEXPLAINED])
reasons = st.lists(st.tuples(given_kinds, spans), max_size=5)


@given(minute_sets, st.integers(0, MINUTES), st.integers(0, MINUTES))
def test_gaps_and_klines_together_are_the_expected_minutes(present, start, length):
    within = span(start, start + length)
    absent = gaps(open_times(present), within)
    assert is_tidy(absent)
    assert minutes_of(absent) == minutes_of([within]) - present


@given(spans)
def test_merged_spans_have_the_same_minutes_and_are_tidy(some):
    assert is_tidy(merge(some))
    assert minutes_of(merge(some)) == minutes_of(some)
    assert total_minutes(merge(some)) == len(minutes_of(some))


@given(spans, spans)
def test_intersect_has_the_minutes_of_both(left, right):
    assert is_tidy(intersect(left, right))
    assert minutes_of(intersect(left, right)) == minutes_of(left) & minutes_of(right)


@given(spans, spans)
def test_subtract_has_the_minutes_of_the_left_alone(left, right):
    assert is_tidy(subtract(left, right))
    assert minutes_of(subtract(left, right)) == minutes_of(left) - minutes_of(right)


@given(spans, reasons)
def test_each_absent_minute_gets_the_first_reason_that_names_it_and_only_that(absent, why):
    expected = {
        minute: next((kind for kind, named in why if minute in minutes_of(named)), Kind.UNEXPLAINED)
        for minute in minutes_of(absent)
    }
    found = explain(absent, [Absence(kind, one) for kind, named in why for one in named])
    named = [(minute, absence.kind) for absence in found for minute in sorted(minutes_of([absence.span]))]
    assert named == sorted(expected.items())


def test_absences_are_maximal_runs_of_one_reason():
    halts = [Absence(Kind.OUTAGE, span(0, 2)), Absence(Kind.OUTAGE, span(2, 6))]
    found = explain([span(0, 4), span(4, 9)], [*halts, Absence(Kind.OPEN, span(5, 8))])
    assert found == [
        Absence(Kind.OUTAGE, span(0, 6)),
        Absence(Kind.OPEN, span(6, 8)),
        Absence(Kind.UNEXPLAINED, span(8, 9)),
    ]


def test_runs_of_one_kind_with_other_evidence_stay_apart_and_keep_it():
    halts = [Absence(Kind.OUTAGE, span(0, 2), ("archive: none",)), Absence(Kind.OUTAGE, span(2, 6))]
    assert explain([span(1, 5)], halts) == [
        Absence(Kind.OUTAGE, span(1, 2), ("archive: none",)),
        Absence(Kind.OUTAGE, span(2, 5)),
    ]


def test_an_absence_is_printed_as_people_read_it():
    found = Absence(
        Kind.OUTAGE, Span(1619323260000, 1619340300000), ("rest: none, asked twice", "archive: none of them")
    )
    told = "outage: 284 minutes from 2021-04-25T04:01Z (rest: none, asked twice; archive: none of them)"
    assert str(found) == told
    assert str(Absence(Kind.OPEN, span(0, 1))) == "open: 1 minute from 1970-01-01T00:00Z"


def test_absent_minutes_are_counted_by_kind():
    absences = [Absence(Kind.OUTAGE, span(0, 3)), Absence(Kind.OPEN, span(3, 4)), Absence(Kind.OUTAGE, span(7, 9))]
    assert minutes_by_kind(absences) == {"outage": 5, "open": 1}


def test_only_what_the_exchange_will_never_have_is_final():
    assert {kind for kind in Kind if kind.is_final} == {
        Kind.NOT_LISTED, Kind.DELISTED, Kind.OUTAGE, Kind.SUSPENDED, Kind.MALFORMED,
    }  # fmt: skip
