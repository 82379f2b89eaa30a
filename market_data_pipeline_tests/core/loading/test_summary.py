"""The line about a load says why days have nothing to load."""

from datetime import date

import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.summary import Summary
from market_data_pipeline.core.sources.protocol import Life

FIRST, LAST = 1_600_000_020_000, 1_700_000_040_000
DAY = day_of(parse_zone("UTC"), date(2025, 3, 2))


@pytest.mark.parametrize(
    ("outcome", "life", "reason"),
    [
        (Outcome.NOT_LISTED, Life(FIRST, None), "1 not_listed (not listed before 2020-09-13T12:27Z)"),
        (Outcome.DELISTED, Life(FIRST, LAST, ended=True), "1 delisted (ended, last kline 2023-11-14T22:14Z)"),
        (Outcome.PAUSED, Life(FIRST, LAST), "1 paused (not traded since 2023-11-14T22:15Z)"),
        (Outcome.OPEN, Life(FIRST, None), "1 open (no klines yet)"),
        (Outcome.FAILED, Life(FIRST, None), "1 failed"),
        (
            Outcome.NOT_LISTED,
            Life(FIRST, None, between=Span(FIRST, LAST)),
            "1 not_listed (not listed before 2020-09-13T12:27Z, nor 2020-09-13T12:27Z to 2023-11-14T22:14Z)",
        ),
    ],
)
def test_a_day_without_a_load_has_its_reason(outcome: Outcome, life: Life, reason: str) -> None:
    done = Summary()
    done.note(DayResult(DAY, outcome))
    assert done.text(life) == f"1 day: {reason}; 0 klines loaded"
    assert done.text() == f"1 day: 1 {outcome}; 0 klines loaded"
