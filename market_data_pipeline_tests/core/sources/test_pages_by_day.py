"""Pages regrouped by day: whose klines a day gets, and whether they need another look at the rules."""

from dataclasses import replace

import pytest

from market_data_pipeline.core.errors import BadAnswer, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.flaws import BadRow, Flaw
from market_data_pipeline.core.klines.table import EMPTY
from market_data_pipeline.core.sources.pages_by_day import PagesByDay
from market_data_pipeline.core.sources.protocol import Page
from market_data_pipeline_tests.core.fakes import FakePages, klines_of, span

DAY, NEXT = span("2024-03-05", "2024-03-06"), span("2024-03-06", "2024-03-07")
ARCHIVE, REST = frozenset({"archive"}), frozenset({"rest"})


def page(of: Span, sources: frozenset[str] = ARCHIVE, *, checked: bool = True) -> Page:
    return Page(of, klines_of(of), sources, checked=checked)


def test_a_day_that_is_one_checked_page_needs_no_second_check():
    days = PagesByDay(FakePages([page(DAY), page(NEXT, checked=False)]))
    assert days.of((DAY,)).checked
    assert not days.of((NEXT,)).checked


def test_part_of_a_checked_page_needs_no_second_check():
    morning = span("2024-03-05", "2024-03-05T12:00Z")
    assert PagesByDay(FakePages([page(DAY)])).of((morning,)).checked


@pytest.mark.parametrize("second", [True, False])
def test_a_day_of_two_pages_is_checked_if_both_are_and_has_the_sources_of_both(second):
    local = span("2024-03-05T12:00Z", "2024-03-06T12:00Z")
    found = PagesByDay(FakePages([page(DAY), page(NEXT, REST, checked=second)])).of((local,))
    assert (found.checked, found.sources) == (second, ARCHIVE | REST)
    assert found.klines.equals(klines_of(local))


def test_a_day_has_the_flaws_and_bad_rows_of_its_pages():
    flaw, row = Flaw(DAY.start_ms, "trades is negative", -1, ("rest",)), BadRow(NEXT.start_ms, "low is not a price", "")
    of_pages = [replace(page(DAY), flaws=(flaw,)), replace(page(NEXT), bad_rows=(row,))]
    found = PagesByDay(FakePages(of_pages)).of((span("2024-03-05T12:00Z", "2024-03-06T12:00Z"),))
    assert (found.flaws, found.bad_rows) == ((flaw,), (row,))


def test_a_failed_page_fails_the_days_that_need_it_and_no_other():
    days = PagesByDay(FakePages([Page(DAY, EMPTY, REST, "nonsense"), page(NEXT)]))
    with pytest.raises(BadAnswer, match="nonsense"):
        days.of((DAY,))
    assert days.of((NEXT,)).klines.num_rows == 1440


def test_after_an_unavailable_source_no_further_page_is_read():
    def pages():
        yield page(DAY)
        raise SourceUnavailable("no network")

    days = PagesByDay(FakePages(pages()))
    assert days.of((DAY,)).checked
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="no network"):
            days.of((NEXT,))
