"""The states of a calendar's days."""

from datetime import date

from market_data_pipeline.api.pages.calendar import Cell, DayState, counted, coverage
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline_tests.core.fakes import at, span

ZURICH = parse_zone("Europe/Zurich")
NOW = at("2024-03-06T22:30Z")
REQUESTED = span("2023-12-30T23:00Z", "2024-03-20T00:00Z")


def dataset(*requested: Span) -> Dataset:
    return Dataset(Market.SPOT, "BTC/USDT", ZURICH, date(2020, 1, 1), requested)


def entry(day: str, *absences: Absence, expected: int = 1440) -> Entry:
    rows = expected - total_minutes(absence.span for absence in absences)
    return Entry(day, rows, expected, None, None, absences, "rest", 1, "0", State.CONFIRMED)


def absence(kind: Kind, start: str, minutes: int) -> Absence:
    return Absence(kind, Span(at(start), at(start) + minutes * 60_000))


def cells(*entries: Entry, requested: Span = REQUESTED, damaged: dict[str, str] | None = None) -> dict[str, Cell]:
    years = coverage(dataset(requested), entries, damaged or {}, NOW)
    return {cell.day: cell for year in years for month in year.months for cell in month.cells if cell}


def test_each_state_and_its_words():
    outage = absence(Kind.OUTAGE, "2024-03-02T00:00Z", 284)
    found = cells(
        entry("2024-03-01"),
        entry("2024-03-02", outage),
        entry("2024-03-03", outage, absence(Kind.UNEXPLAINED, "2024-03-03T12:00Z", 2)),
        entry("2024-03-04", absence(Kind.NOT_REQUESTED, "2024-03-04T00:00Z", 60)),
        entry("2024-03-06", absence(Kind.OPEN, "2024-03-06T22:30Z", 30)),
        damaged={"2024-03-01": "its file is gone"},
    )
    assert found["2024-02-29"].state is DayState.MISSING
    assert found["2024-03-01"].text == "2024-03-01 damaged (its file is gone): 1,440 of 1,440 klines"
    assert found["2024-03-02"].text == "2024-03-02 outage: 1,156 of 1,440 klines, 284 min outage"
    assert found["2024-03-03"].text == "2024-03-03 partial: 1,154 of 1,440 klines, 284 min outage, 2 min unexplained"
    assert found["2024-03-04"].state is DayState.PARTIAL
    assert found["2024-03-05"].text == "2024-03-05 missing: requested, but there is no chunk"
    assert found["2024-03-06"].state is DayState.TODAY


def test_today_is_a_day_of_the_dataset_s_zone():
    assert max(cells()) == "2024-03-06"
    years = coverage(dataset(REQUESTED), [], {}, NOW + 3_600_000)
    assert years[0].months[-1].cells[6] == Cell("2024-03-07", DayState.TODAY, "2024-03-07 today: not over yet")


def test_a_day_that_was_loaded_before_its_end_and_is_over_is_partial():
    assert (
        cells(entry("2024-03-05", absence(Kind.OPEN, "2024-03-05T12:00Z", 60)))["2024-03-05"].state is DayState.PARTIAL
    )


def test_days_of_23_and_25_hours_are_complete():
    found = cells(entry("2024-03-31", expected=1380), entry("2023-10-29", expected=1500))
    assert found["2024-03-31"].text == "2024-03-31 complete: 1,380 of 1,380 klines"
    assert found["2023-10-29"].text == "2023-10-29 complete: 1,500 of 1,500 klines"


def test_the_first_and_last_requested_day_count_whole():
    found = cells(requested=span("2024-01-10T12:00Z", "2024-01-12T23:00Z"))
    missing = [day for day, cell in found.items() if cell.state is DayState.MISSING]
    assert missing == ["2024-01-10", "2024-01-11", "2024-01-12"]


def test_years_without_a_requested_day_are_left_out():
    years = coverage(dataset(REQUESTED), [entry("2021-05-01")], {}, NOW)
    assert [year.year for year in years] == [2024, 2023, 2021]
    assert [len(year.months) for year in years] == [3, 12, 12]
    assert years[0].months[2].cells[6:] == (None,) * 25


def test_days_are_counted():
    counts = counted(coverage(dataset(REQUESTED), [entry("2024-03-01")], {}, NOW))
    assert counts[DayState.COMPLETE] == 1
    assert counts[DayState.TODAY] == 1
    assert counts[DayState.DAMAGED] == 0
    assert counts[DayState.MISSING] == 65
