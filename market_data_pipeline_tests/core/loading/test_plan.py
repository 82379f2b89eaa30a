"""What each day of a window needs: from what is stored, what was requested before, and the pair's life."""

from dataclasses import replace
from datetime import date

import pytest

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Load, Outcome, Task, decide_load, plan_load
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline_tests.core.fakes import FakeSource, at, day, span, whole

DAY = day("2024-03-05")
THREE_DAYS = span("2024-03-05", "2024-03-08")
MORNING, EVENING = span("2024-03-05T03:00Z", "2024-03-05T05:00Z"), span("2024-03-05T19:00Z", "2024-03-05T20:00Z")
BETWEEN = span("2024-03-05T12:00Z", "2024-03-07T06:00Z")


class Lived(FakeSource):
    """A pair that is paused, not ended, or whose symbol an earlier pair had."""

    between: Span | None = None

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        return replace(super().life(since_ms), ended=False, between=self.between)


def reused(first: str = "2017-08-17T04:00Z") -> Lived:
    source = Lived(first=first)
    source.between = BETWEEN
    return source


def stored(made: DatasetStore, window: Span, source: FakeSource | None = None) -> None:
    assert all(result.outcome is Outcome.LOADED for result in backfill(made, source or FakeSource(), window))


def tasks(
    made: DatasetStore, window: Span = THREE_DAYS, source: FakeSource | None = None, *, refetch: bool = False
) -> list[tuple[str, list[Span], Outcome | None]]:
    load = decide_load(made, source or FakeSource(), window, refetch=refetch)
    return [(task.day.key[-2:], list(task.spans), task.outcome) for task in load.tasks]


def of_day(made: DatasetStore, window: Span, source: FakeSource | None = None, *, refetch: bool = False) -> list[Span]:
    [(_, spans, _)] = tasks(made, window, source, refetch=refetch)
    return spans


def test_each_day_has_the_minutes_of_the_window(made: DatasetStore) -> None:
    window = span("2024-03-05T12:00Z", "2024-03-07T06:00Z")
    assert tasks(made, window) == [
        ("05", [span("2024-03-05T12:00Z", "2024-03-06")], None),
        ("06", [span("2024-03-06", "2024-03-07")], None),
        ("07", [span("2024-03-07", "2024-03-07T06:00Z")], None),
    ]


def test_a_plan_is_noted_and_a_decision_is_not(made: DatasetStore) -> None:
    decide_load(made, FakeSource(), THREE_DAYS)
    assert made.dataset.requested == ()
    source = FakeSource()
    load = plan_load(made, source, THREE_DAYS)
    assert made.dataset.requested == (THREE_DAYS,)
    assert (load.store, load.source, load.spans) == (made, source, [THREE_DAYS])
    assert (load.life, load.settled_ms) == (source.life(), at("2024-05-31T23:57Z"))
    assert load.tasks == decide_load(made, source, THREE_DAYS).tasks


def test_a_note_has_the_minutes_that_can_be_had_and_are_settled(made: DatasetStore) -> None:
    plan_load(made, FakeSource(first="2024-03-06T04:00Z", now="2024-03-07T12:00:30Z"), THREE_DAYS)
    assert made.dataset.requested == (span("2024-03-06T04:00Z", "2024-03-07T11:57Z"),)


def test_a_note_leaves_out_the_minutes_between_two_pairs(made: DatasetStore) -> None:
    plan_load(made, reused(), THREE_DAYS)
    before, after = Span(THREE_DAYS.start_ms, BETWEEN.start_ms), Span(BETWEEN.end_ms, THREE_DAYS.end_ms)
    assert made.dataset.requested == (before, after)
    assert made.dataset.reused == BETWEEN


@pytest.mark.parametrize("again", [Lived(), Lived(last="2024-03-07T00:00Z")])
def test_a_proven_end_is_noted_until_the_pair_is_traded_again(made: DatasetStore, again: Lived) -> None:
    plan_load(made, FakeSource(last="2024-03-06T23:59Z"), THREE_DAYS)
    assert made.dataset.ended_ms == at("2024-03-07")
    assert made.dataset.requested == (span("2024-03-05", "2024-03-07"),)
    plan_load(made, Lived(last="2024-03-06T23:59Z"), THREE_DAYS)  # as the archive alone tells it, which proves no end
    assert made.dataset.ended_ms == at("2024-03-07")
    plan_load(made, again, THREE_DAYS)
    assert made.dataset.ended_ms is None


def test_of_a_pair_that_ended_before_the_window_nothing_is_noted(made: DatasetStore) -> None:
    plan_load(made, FakeSource(last="2024-02-06T23:59Z"), THREE_DAYS)
    assert (made.dataset.requested, made.dataset.ended_ms) == ((), None)


def test_an_earlier_window_moves_the_start(made: DatasetStore) -> None:
    plan_load(made, FakeSource(), span("2019-05-03", "2019-05-04"))
    assert made.dataset.start == date(2019, 5, 3)


def test_a_stored_day_needs_nothing_unless_it_is_fetched_anew(made: DatasetStore) -> None:
    stored(made, whole(DAY))
    assert tasks(made)[0] == ("05", [], Outcome.UNCHANGED)
    assert of_day(made, MORNING) == []
    assert of_day(made, MORNING, refetch=True) == [MORNING]


def test_a_damaged_day_needs_all_that_was_ever_requested_of_it(made: DatasetStore) -> None:
    stored(made, MORNING)
    stored(made, EVENING)
    assert of_day(made, MORNING) == []
    made.chunk_path(DAY).write_bytes(b"damaged")
    assert of_day(made, span("2024-03-05T10:00Z", "2024-03-05T11:00Z")) == [
        MORNING,
        span("2024-03-05T10:00Z", "2024-03-05T11:00Z"),
        EVENING,
    ]


def test_a_day_that_is_stored_in_part_needs_what_is_new_and_what_a_killed_run_left(made: DatasetStore) -> None:
    stored(made, MORNING)
    plan_load(made, FakeSource(), EVENING)  # and killed
    wide = span("2024-03-05T02:00Z", "2024-03-05T06:00Z")
    assert of_day(made, wide) == [
        span("2024-03-05T02:00Z", "2024-03-05T03:00Z"),
        span("2024-03-05T05:00Z", "2024-03-05T06:00Z"),
        EVENING,
    ]


def test_a_part_that_is_fetched_anew_leaves_nothing_behind_that_no_source_was_asked_for(made: DatasetStore) -> None:
    stored(made, MORNING)
    plan_load(made, FakeSource(), EVENING)  # and killed
    assert of_day(made, MORNING, refetch=True) == [MORNING, EVENING]


def test_before_open_minutes_also_those_are_needed_that_had_only_just_closed(made: DatasetStore) -> None:
    stored(made, whole(DAY), FakeSource(now="2024-03-05T12:00:30Z"))
    later = FakeSource(now="2024-03-05T18:00:30Z")
    assert of_day(made, whole(DAY), later) == [span("2024-03-05T11:57Z", "2024-03-05T18:00Z")]


def test_klines_that_were_read_live_are_confirmed_once_their_day_is_settled(made: DatasetStore) -> None:
    stored(made, whole(DAY), FakeSource(now="2024-03-06T00:01:30Z"))
    assert made.entries[DAY.key].was_read_live
    assert of_day(made, whole(DAY), FakeSource(now="2024-03-06T00:02:59Z")) == []
    assert of_day(made, whole(DAY), FakeSource(now="2024-03-06T00:03Z")) == [whole(DAY)]
    assert of_day(made, MORNING, FakeSource(now="2024-03-06T00:03Z")) == [MORNING]


def test_absent_minutes_are_asked_for_again_unless_they_are_proven(made: DatasetStore) -> None:
    list(backfill(made, FakeSource(missing=[EVENING], unproven=True), whole(DAY)))
    assert [absence.kind for absence in made.entries[DAY.key].absences] == [Kind.UNEXPLAINED]
    assert of_day(made, whole(DAY)) == [EVENING]
    stored(made, whole(DAY), FakeSource(missing=[EVENING]))
    assert [absence.kind for absence in made.entries[DAY.key].absences] == [Kind.OUTAGE]
    assert of_day(made, whole(DAY)) == []


def test_a_life_that_is_longer_than_it_was_said_to_be_is_loaded(made: DatasetStore) -> None:
    stored(made, whole(DAY), FakeSource(first="2024-03-05T03:00Z", last="2024-03-05T19:59Z"))
    assert of_day(made, whole(DAY), FakeSource(first="2024-03-05T03:00Z", last="2024-03-05T19:59Z")) == []
    assert of_day(made, whole(DAY), FakeSource(first="2024-03-05T01:00Z")) == [
        span("2024-03-05T01:00Z", "2024-03-05T03:00Z"),
        span("2024-03-05T20:00Z", "2024-03-06"),
    ]


def test_days_outside_of_a_life_say_why_they_have_no_klines(made: DatasetStore) -> None:
    window = span("2024-03-03", "2024-03-08")
    ended = tasks(made, window, FakeSource(first="2024-03-05T04:00Z", last="2024-03-06T03:59Z"))
    assert [outcome for *_, outcome in ended] == [Outcome.NOT_LISTED, Outcome.NOT_LISTED, None, None, Outcome.DELISTED]
    paused = tasks(made, window, Lived(last="2024-03-06T03:59Z"))
    assert [outcome for *_, outcome in paused] == [None, None, None, None, Outcome.PAUSED]
    # A pause is asked about to the end of its first day.
    assert paused[3][1] == [whole(day("2024-03-06"))]
    to_come = tasks(made, window, FakeSource(now="2024-03-06T00:00:30Z"))
    assert [outcome for *_, outcome in to_come] == [None, None, None, Outcome.OPEN, Outcome.OPEN]


def test_a_day_between_two_pairs_of_a_symbol_is_not_listed(made: DatasetStore) -> None:
    assert tasks(made, THREE_DAYS, reused()) == [
        ("05", [span("2024-03-05", "2024-03-05T12:00Z")], None),
        ("06", [], Outcome.NOT_LISTED),
        ("07", [span("2024-03-07T06:00Z", "2024-03-08")], None),
    ]


def test_a_window_in_the_first_day_before_the_first_kline_is_not_listed(made: DatasetStore) -> None:
    first = FakeSource(first="2024-03-05T04:00Z")
    before, on = span("2024-03-05T01:00Z", "2024-03-05T04:00Z"), span("2024-03-05T01:00Z", "2024-03-05T04:01Z")
    assert tasks(made, before, first) == [("05", [], Outcome.NOT_LISTED)]
    assert of_day(made, on, first) == [span("2024-03-05T04:00Z", "2024-03-05T04:01Z")]
    late = FakeSource(now="2024-03-05T12:00:30Z")
    assert tasks(made, span("2024-03-05T13:00Z", "2024-03-05T14:00Z"), late) == [("05", [], Outcome.OPEN)]


def test_a_part_of_a_plan_is_of_the_same_load(made: DatasetStore) -> None:
    whole_plan = plan_load(made, FakeSource(), span("2024-03-03", "2024-03-08"))
    part = whole_plan.between("2024-03-04", "2024-03-06")
    assert part == Load(made, whole_plan.source, whole_plan.tasks[1:4], whole_plan.life, whole_plan.settled_ms)


@pytest.mark.parametrize(
    ("outcome", "is_recorded", "needs_run"),
    [
        (None, False, True),
        (None, True, True),
        (Outcome.UNCHANGED, False, True),
        (Outcome.UNCHANGED, True, False),
        (Outcome.DELISTED, False, True),
        (Outcome.OPEN, False, False),
        (Outcome.PAUSED, False, False),
        (Outcome.FAILED, False, False),
    ],
)
def test_a_day_needs_a_run_to_load_it_or_to_record_it(
    outcome: Outcome | None, is_recorded: bool, needs_run: bool
) -> None:
    assert Task(DAY, outcome=outcome).needs_run(is_recorded=is_recorded) is needs_run
