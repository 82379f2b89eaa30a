"""Backfills as requested: what the exchange is asked, and what a run of another process is to load."""

import pytest

from market_data_pipeline.app.backfill import BackfillRequest, run_window
from market_data_pipeline.app.targets import Target, target_of
from market_data_pipeline.core.errors import SourceUnavailable, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.app.conftest import Load
from market_data_pipeline_tests.core.fakes import span


def requests(running: RunningExchange) -> int:
    """Every request that the exchange got."""
    return sum(sum(running.exchange.stats()[market]["endpoints"].values()) for market in ("spot", "futures"))


def offline(settings: Settings) -> Settings:
    """The same data root with an exchange that nothing listens at."""
    return settings.model_copy(update={"market_data_exchange_url": "http://127.0.0.1:9"})


def test_one_backfill_reads_the_clock_once_and_the_life_once(load: Load, running: RunningExchange):
    assert load("2024-03-05", "2024-03-07").ok
    assert running.exchange.stats()["spot"]["endpoints"]["time"] == 1
    # The first kline, the newest ones, and pages of at most 1000 rows.
    assert running.exchange.stats()["spot"]["endpoints"]["klines"] == 2 + 3


def test_of_a_known_dataset_a_run_window_needs_no_exchange(load: Load, settings: Settings, target: Target):
    load("2024-03-05", "2024-03-06")
    wanted = run_window(offline(settings), BackfillRequest(target, "2024-03-01", "2024-03-04"))
    assert wanted.window == span("2024-03-01", "2024-03-04")
    assert [day.key for day in wanted.days] == ["2024-03-01", "2024-03-02", "2024-03-03"]
    assert wanted.warnings == ()
    # The run notes it, and so does nothing before it.
    noted = store_of(settings).find(target.market, target.pair)
    assert noted is not None
    assert noted.requested == (span("2024-03-05", "2024-03-06"),)


def test_a_run_window_ends_at_the_present(load: Load, settings: Settings, target: Target):
    load("2024-03-05", "2024-03-06")
    wanted = run_window(offline(settings), BackfillRequest(target, "2024-03-05", "2099-01-01"))
    assert span("2024-03-05", "2026-01-01").end_ms < wanted.window.end_ms < span("2024-03-05", "2099-01-01").end_ms


def test_a_run_window_of_a_new_dataset_creates_it(settings: Settings, target: Target):
    wanted = run_window(settings, BackfillRequest(target, "2024-03-05", "2024-03-06"))
    assert store_of(settings).find(target.market, target.pair) == wanted.dataset
    with pytest.raises(SourceUnavailable):
        run_window(offline(settings), BackfillRequest(target_of(settings, "spot", "ETH/USDT"), "2024-03-05"))


def test_a_run_window_before_2020_moves_the_start_of_the_dataset(load: Load, settings: Settings, target: Target):
    load("2024-03-05", "2024-03-06")
    wanted = run_window(settings, BackfillRequest(target, "2019-03-05", "2019-03-06"))
    assert wanted.dataset.start.isoformat() == "2019-03-05"
    assert store_of(settings).find(target.market, target.pair) == wanted.dataset


def test_a_window_before_a_pair_was_listed_is_refused_without_the_exchange(settings: Settings):
    target = target_of(settings, "futures", "NEAR/USDT")
    listed = run_window(settings, BackfillRequest(target, "2020-10-20", "2020-10-21")).dataset
    assert listed.start.isoformat() == "2020-10-15"
    with pytest.raises(UsageError, match="NEAR/USDT has klines from 2020-10-15T00:00Z, none in the requested window"):
        run_window(offline(settings), BackfillRequest(target, "2020-05-01", "2020-05-02"))
    within = run_window(offline(settings), BackfillRequest(target, "2020-05-01", "2020-10-17"))
    assert within.window == Span(listed.first_day.start_ms, span("2020-10-16", "2020-10-17").end_ms)
