"""In the log a reason is once, with how many days failed for it."""

import logging

import pytest

from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.failures import FailedDays
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline_tests.core.fakes import day


def logged(caplog: pytest.LogCaptureFixture, *days: tuple[str, str]) -> list[tuple[int, str]]:
    failed = FailedDays("spot BTC/USDT")
    for key, error in days:
        failed.note(DayResult(day(key), Outcome.FAILED, error=error))
    failed.end()
    failed.end()
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_a_reason_is_logged_once_and_then_how_many_more_days_it_had(caplog: pytest.LogCaptureFixture) -> None:
    days = [("2024-03-01", "away"), ("2024-03-02", "away"), ("2024-03-04", "away"), ("2024-03-05", "bad"),
            ("2024-03-06", "bad"), ("2024-03-07", "away")]  # fmt: skip
    assert logged(caplog, *days) == [
        (logging.ERROR, "spot BTC/USDT 2024-03-01 failed: away"),
        (logging.ERROR, "spot BTC/USDT 2024-03-04: until then 2 more days failed for the same reason"),
        (logging.ERROR, "spot BTC/USDT 2024-03-05 failed: bad"),
        (logging.ERROR, "spot BTC/USDT 2024-03-06: until then 1 more day failed for the same reason"),
        (logging.ERROR, "spot BTC/USDT 2024-03-07 failed: away"),
    ]


def test_a_load_without_failed_days_logs_none(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog) == []
