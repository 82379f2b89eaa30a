"""Which minutes a request has: its own, those of whole days, and of these the ones that the exchange can have."""

from datetime import date

import pytest

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import Zone, parse_zone
from market_data_pipeline.core.loading.window import dataset_start, parse_window, reachable, settled_before
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline_tests.core.fakes import UTC_ZONE, at, span

NOW = at("2024-06-01T12:00Z") + 30_500
ZURICH, NEW_YORK = parse_zone("Europe/Zurich"), parse_zone("America/New_York")


def parsed(start: str | None, end: str | None, *align_to: Zone) -> Span:
    start_ms, end_ms = (None if text is None else at(text) for text in (start, end))
    return parse_window(start_ms=start_ms, end_ms=end_ms, now_ms=NOW, align_to=align_to)


def test_a_window_without_ends_is_all_of_history_with_the_minute_that_is_not_over() -> None:
    assert parsed(None, None) == span("2020-01-01T01:00Z", "2024-06-01T12:01Z")
    assert parsed("2024-05-01", "2030-01-01") == span("2024-05-01", "2024-06-01T12:01Z")
    assert parsed("2024-05-01", "2024-05-02T03:04Z") == span("2024-05-01", "2024-05-02T03:04Z")


def test_an_aligned_window_has_whole_days_of_each_zone() -> None:
    noon = ("2024-03-05T12:00Z", "2024-03-05T12:01Z")
    assert parsed(*noon, UTC_ZONE) == span("2024-03-05", "2024-03-06")
    assert parsed(*noon, ZURICH) == span("2024-03-04T23:00Z", "2024-03-05T23:00Z")
    assert parsed(*noon, UTC_ZONE, NEW_YORK) == span("2024-03-04T05:00Z", "2024-03-06T05:00Z")
    # Midnight is the end of the day before it.
    assert parsed("2024-03-05", "2024-03-06", UTC_ZONE) == span("2024-03-05", "2024-03-06")


def test_an_aligned_window_of_the_running_minute_is_its_day() -> None:
    assert parsed("2024-06-01T12:00Z", None, UTC_ZONE) == span("2024-06-01", "2024-06-02")


@pytest.mark.parametrize("end", ["2024-05-01", "2024-04-30"])
def test_a_window_ends_after_its_start(end: str) -> None:
    with pytest.raises(UsageError, match="is not after the start 2024-05-01T00:00Z; give a later end"):
        parsed("2024-05-01", end)
    with pytest.raises(UsageError, match="is not after the start 2020-01-01T01:00Z"):
        parsed(None, "2020-01-01T01:00Z")


def test_a_window_does_not_start_in_the_future() -> None:
    with pytest.raises(UsageError, match="the start 2024-06-01T12:01Z is in the future; give an earlier start"):
        parsed("2024-06-01T12:01Z", None)


def test_klines_are_final_some_minutes_after_they_closed() -> None:
    assert settled_before(NOW) == at("2024-06-01T11:57Z")
    assert settled_before(at("2024-06-01T12:00Z") - 1) == at("2024-06-01T11:56Z")


# --- what the exchange can have

ALL = span("2010-01-01", "2030-01-01")
FIRST, LAST = at("2022-03-04T11:00Z"), at("2024-05-30T09:59Z")


def test_what_can_be_had_begins_with_the_first_kline_and_ends_with_the_last_closed_minute() -> None:
    assert reachable(ALL, Life(FIRST, None), NOW, UTC_ZONE) == span("2022-03-04T11:00Z", "2024-06-01T12:00Z")
    asked = span("2024-05-01", "2024-05-02")
    assert reachable(asked, Life(FIRST, None), NOW, UTC_ZONE) == asked


def test_nothing_can_be_had_outside_of_a_life() -> None:
    assert reachable(span("2022-03-01", "2022-03-04T11:00Z"), Life(FIRST, None), NOW, UTC_ZONE) is None
    ended = Life(FIRST, LAST, ended=True)
    assert reachable(span("2024-05-30T10:00Z", "2024-06-01"), ended, NOW, UTC_ZONE) is None
    assert reachable(span("2024-05-30T09:59Z", "2024-06-01"), ended, NOW, UTC_ZONE) == span(
        "2024-05-30T09:59Z", "2024-05-30T10:00Z"
    )


@pytest.mark.parametrize(
    ("ended", "now", "end"),
    [
        (True, "2024-06-01", "2024-05-30T10:00Z"),
        (False, "2024-06-01", "2024-05-31"),
        (False, "2024-05-30T15:00Z", "2024-05-30T10:00Z"),
        # The day is over, and its last klines are not final yet.
        (False, "2024-05-31T00:02Z", "2024-05-30T10:00Z"),
        (False, "2024-05-31T00:03Z", "2024-05-31"),
    ],
)
def test_a_pause_is_asked_about_to_the_end_of_its_first_day_once_that_is_over(ended: bool, now: str, end: str) -> None:
    life = Life(FIRST, LAST, ended=ended)
    assert reachable(ALL, life, at(now), UTC_ZONE) == Span(FIRST, at(end))


def test_the_first_day_of_a_pause_is_one_of_the_zone() -> None:
    life = Life(FIRST, at("2024-05-30T22:30Z"))
    assert reachable(ALL, life, NOW, ZURICH) == Span(FIRST, at("2024-05-31T22:00Z"))
    assert reachable(ALL, life, NOW, UTC_ZONE) == Span(FIRST, at("2024-05-31"))


@pytest.mark.parametrize(
    ("first", "window", "start"),
    [
        ("2017-08-17T04:00Z", None, "2020-01-01"),
        ("2017-08-17T04:00Z", span("2021-01-01", "2021-01-02"), "2020-01-01"),
        ("2017-08-17T04:00Z", span("2018-01-01", "2021-01-02"), "2018-01-01"),
        ("2022-03-04T11:00Z", span("2018-01-01", "2021-01-02"), "2022-03-04"),
    ],
)
def test_a_dataset_starts_with_history_unless_more_is_asked_for_or_less_is_there(
    first: str, window: Span | None, start: str
) -> None:
    assert dataset_start(UTC_ZONE, Life(at(first), None), window) == date.fromisoformat(start)


def test_minutes_between_two_pairs_of_a_symbol_are_in_reach_only_beside_others() -> None:
    between = span("2023-01-01T09:00Z", "2023-06-01T17:00Z")
    life = Life(FIRST, None, between=between)
    for asked in (between, span("2023-01-01T18:15Z", "2023-02-01")):
        assert reachable(asked, life, NOW, UTC_ZONE) is None
    for asked in (span("2023-01-01", "2023-02-01"), span("2023-02-01", "2023-06-02")):
        assert reachable(asked, life, NOW, UTC_ZONE) == asked
