"""Progress where there is no terminal: a line every few seconds, and at the end one of what was done."""

import time
from contextlib import ExitStack
from datetime import date

import pytest

from market_data_pipeline.app.report import ReportedOne
from market_data_pipeline.cli.market.progress import bulk_progress
from market_data_pipeline.cli.market.runs import run_progress
from market_data_pipeline.cli.progress import LOG_EVERY_S, dataset_progress, day_progress
from market_data_pipeline.core.bulk.load import Ended
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.instance.queue.parts import State
from market_data_pipeline_tests.core.fakes import FakeSource

UTC = parse_zone("UTC")
BTC = Dataset(Market.SPOT, "BTC/USDT", UTC, date(2024, 5, 1))


class Exchange(FakeSource):
    """An exchange of which the weight is known until it is closed."""

    def usage(self) -> Usage:
        return Usage(5, 6000, 5)


def requests() -> list[WindowRequest]:
    return [WindowRequest(Market.SPOT, pair, UTC, 0, None) for pair in ("BTC/USDT", "ETH/USDT")]


@pytest.mark.slow
def test_the_last_line_of_a_long_load_tells_what_was_done(capfd: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        bulk, days = stack.enter_context(bulk_progress()), stack.enter_context(day_progress())
        datasets, runs = stack.enter_context(dataset_progress()), stack.enter_context(run_progress())
        bulk.on_start(2)
        days.on_start(BTC, 2, Exchange())
        datasets.on_start(2)
        time.sleep(LOG_EVERY_S + 0.1)
        for one, request in enumerate(requests(), 1):
            bulk.on_message(request, Ended())
            days.on_day(DayResult(BTC.day(f"2024-05-0{one}"), Outcome.LOADED))
            datasets.on_dataset(ReportedOne(f"spot {one}", days=1, told=1, not_stored=0))
            runs.on_states({State.DONE: one, State.RUNNING: 2 - one})
    lines = capfd.readouterr().err.splitlines()
    for begun in ("{} of 2 pairs, ", "spot BTC/USDT: {} of 2 days, ", "{} of 2 datasets, ", "{} of 2 runs: "):
        assert [sum(line.startswith(begun.format(done)) for line in lines) for done in (1, 2)] == [1, 1], lines


def test_a_short_load_has_no_lines_of_its_progress(capfd: pytest.CaptureFixture[str]) -> None:
    with bulk_progress() as bulk, day_progress() as days, dataset_progress() as datasets, run_progress() as runs:
        bulk.on_start(1)
        bulk.on_message(requests()[0], Ended())
        days.on_start(BTC, 1, Exchange())
        days.on_day(DayResult(BTC.day("2024-05-01"), Outcome.LOADED))
        datasets.on_start(1)
        datasets.on_dataset(ReportedOne("spot BTC/USDT", days=1, told=1, not_stored=0))
        runs.on_submitted(1, 1)
    assert capfd.readouterr().err == ""
