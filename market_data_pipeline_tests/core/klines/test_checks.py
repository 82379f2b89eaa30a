"""Each rule catches what breaks it and says where first; what is good passes without a word."""

import numpy as np
import pyarrow as pa
import pytest

from market_data_pipeline.core.klines.checks import broken_rules, coverage_problems, flaw_problems, flaws, is_clean
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import SCHEMA
from market_data_pipeline_tests.core.fakes import at, changed, day, klines_of, span, whole

DAY = whole(day("2024-03-05"))
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")


def problems(klines: pa.Table) -> list[str]:
    return broken_rules(klines, DAY)[0]


@pytest.mark.parametrize("absent", [[], [HALT], [DAY]], ids=["whole", "with an outage", "empty"])
def test_good_klines_break_no_rule(absent):
    klines = klines_of(DAY, without=absent)
    assert problems(klines) == flaws(klines) == []
    assert is_clean(klines)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("open", float("nan"), "open is not a number"),
        ("volume", float("inf"), "volume is not a number"),
        ("ignore", float("nan"), "ignore is not a number"),
        ("low", 0.0, "low is not a price"),
        ("open", -1.0, "open is not a price"),
        ("high", 0.0, "high is not a price"),
        ("close", float("-inf"), "close is not a number"),
    ],
)
def test_a_kline_that_cannot_be_stored_is_named_with_its_minute(field, value, rule):
    klines = changed(klines_of(DAY), field, 61, value)
    assert f"{rule}: 1 kline, first at 2024-03-05T01:01Z" in problems(klines)
    assert not is_clean(klines)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("volume", -1.0, "volume is negative"),
        ("trades", -1, "trades is negative"),
        ("quote_volume", -1e-9, "quote_volume is negative"),
        ("taker_base_volume", -1.0, "taker_base_volume is negative"),
        ("low", 1e6, "low is above open or close"),
        ("high", 1.0, "high is below open or close"),
        ("open", 1e6, "high is below open or close"),
        ("close", 1.0, "low is above open or close"),
        ("taker_base_volume", 1e9, "taker_base_volume is above volume"),
        ("taker_quote_volume", 1e12, "taker_quote_volume is above quote_volume"),
    ],
)
def test_a_kline_that_only_contradicts_itself_is_a_flaw_with_its_minute_and_value(field, value, rule):
    klines = changed(klines_of(DAY), field, 61, value)
    assert problems(klines) == []
    assert not is_clean(klines)
    minute, of_rule = DAY.start_ms + 61 * MINUTE_MS, rule.partition(" ")[0]
    kept = klines.column(of_rule)[61].as_py()
    assert Flaw(minute, rule, kept, ("archive",)) in flaws(klines, sources=("archive",))


def test_a_flaw_that_is_named_is_no_problem_and_any_other_is():
    klines = changed(klines_of(DAY), "trades", 61, -1)
    [flaw] = flaws(klines)
    assert list(flaw_problems(flaws(klines), [flaw])) == []
    assert list(flaw_problems(flaws(klines), [])) == ["2024-03-05T01:01Z trades is negative: -1, and no flaw says so"]
    [missing] = flaw_problems(flaws(klines_of(DAY)), [flaw])
    assert missing == "named as a flaw and not one in the klines: 2024-03-05T01:01Z trades is negative: -1"
    assert len(list(flaw_problems(flaws(changed(klines, "trades", 61, -2)), [flaw]))) == 2


def test_the_first_of_several_broken_minutes_is_named_and_all_are_counted():
    klines = klines_of(DAY)
    for row in (700, 61, 1439):
        klines = changed(klines, "volume", row, float("nan"))
    assert "volume is not a number: 3 klines, first at 2024-03-05T01:01Z" in problems(klines)


def test_what_is_in_the_ignored_field_is_ignored():
    assert problems(changed(klines_of(DAY), "ignore", 5, -3.0)) == []


def test_a_minute_that_comes_twice_is_named():
    klines = klines_of(DAY)
    doubled = pa.concat_tables([klines.slice(0, 62), klines.slice(61)])
    assert "open_time is not after the one before: 1 kline, first at 2024-03-05T01:01Z" in problems(doubled)


def test_minutes_out_of_order_are_named():
    klines = klines_of(DAY)
    swapped = pa.concat_tables([klines.slice(0, 60), klines.slice(61, 1), klines.slice(60, 1), klines.slice(62)])
    assert "open_time is not after the one before: 1 kline, first at 2024-03-05T01:00Z" in problems(swapped)


def test_a_time_off_the_minute_grid_is_named():
    off = DAY.start_ms + 61 * MINUTE_MS + 1
    found = problems(changed(klines_of(DAY), "open_time", 61, off))
    assert any(problem.startswith("open_time is not on the minute grid: 1 kline, first at") for problem in found)


@pytest.mark.parametrize("minutes", [-1, 1])
def test_a_minute_of_another_day_is_named(minutes):
    shifted = Span(DAY.start_ms + minutes * MINUTE_MS, DAY.end_ms + minutes * MINUTE_MS)
    assert any("open_time is outside the day: 1 kline" in problem for problem in problems(klines_of(shifted)))


@pytest.mark.parametrize("shift", [0, -1, MINUTE_MS])
def test_a_close_outside_its_minute_is_named(shift):
    klines = klines_of(DAY, without=[HALT])
    last_before_halt = 239
    close = int(klines.column("open_time")[last_before_halt].as_py()) + shift
    [flaw] = flaws(changed(klines, "close_time", last_before_halt, close))
    assert flaw == Flaw(at("2024-03-05T03:59Z"), "close_time is outside the minute", close)


def test_a_close_may_be_cut_short_only_before_a_halt():
    klines = klines_of(DAY, without=[HALT])
    before_halt, elsewhere, last_of_day = 239, 61, klines.num_rows - 1
    for row, allowed in ((last_of_day, True), (before_halt, True), (elsewhere, False)):
        cut_short = int(klines.column("open_time")[row].as_py()) + 21_000
        found = flaws(changed(klines, "close_time", row, cut_short))
        assert (found == []) is allowed
    [flaw] = found
    assert flaw == Flaw(at("2024-03-05T01:01Z"), "close_time is not the minute's last ms", cut_short)
    assert flaws(changed(klines, "close_time", last_of_day, cut_short), followed=True)


@pytest.mark.parametrize(
    "klines",
    [
        klines_of(DAY).drop_columns(["ignore"]),
        klines_of(DAY).append_column("extra", pa.array(np.zeros(1440))),
        klines_of(DAY).select(list(reversed(SCHEMA.names))),
        klines_of(DAY).set_column(8, "trades", pa.array(np.zeros(1440))),
        klines_of(DAY).rename_columns(["time", *SCHEMA.names[1:]]),
    ],
    ids=["one less", "one more", "another order", "another type", "another name"],
)
def test_other_columns_are_named(klines):
    [problem] = problems(klines)
    assert "not the twelve fields with their types" in problem


def test_a_null_is_named():
    column = pa.array([None, *[1.0] * 1439], pa.float64())
    [problem] = problems(klines_of(DAY).set_column(5, SCHEMA.field("volume"), column))
    assert problem == "a value is missing"


# --- coverage


def problems_of(absences: list[Absence]) -> list[str]:
    return list(coverage_problems(klines_of(DAY, without=[HALT]), tuple(absences), DAY))


def test_a_day_whose_absences_are_all_named_once_is_covered():
    first, second = span("2024-03-05T04:00Z", "2024-03-05T05:00Z"), span("2024-03-05T05:00Z", "2024-03-05T05:30Z")
    assert problems_of([Absence(Kind.OUTAGE, HALT)]) == []
    assert problems_of([Absence(Kind.OUTAGE, first), Absence(Kind.NOT_REQUESTED, second)]) == []


def test_an_absent_minute_without_a_reason_is_named():
    [problem] = problems_of([Absence(Kind.OUTAGE, span("2024-03-05T04:00Z", "2024-03-05T05:00Z"))])
    assert problem == "absent without a reason: 30 minutes from 2024-03-05T05:00Z"


def test_a_minute_called_absent_that_is_there_is_named():
    [problem] = problems_of([Absence(Kind.OUTAGE, span("2024-03-05T03:59Z", "2024-03-05T05:30Z"))])
    assert problem == "named absent and not absent in the day: 1 minute from 2024-03-05T03:59Z"


def test_an_absence_outside_the_day_is_named():
    beyond = Absence(Kind.OPEN, span("2024-03-06T00:00Z", "2024-03-06T00:07Z"))
    [problem] = problems_of([Absence(Kind.OUTAGE, HALT), beyond])
    assert problem == "named absent and not absent in the day: 7 minutes from 2024-03-06T00:00Z"


def test_two_reasons_for_one_minute_are_refused():
    twice = [Absence(Kind.OUTAGE, HALT), Absence(Kind.OPEN, HALT)]
    assert "two absences name the same minute" in problems_of(twice)
