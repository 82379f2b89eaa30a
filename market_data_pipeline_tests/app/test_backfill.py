"""Backfills as requested: what the exchange is asked, and what a run of another process is to load."""

from collections.abc import Iterator

import pytest

from market_data_pipeline.app.backfill import BackfillRequest, run_window
from market_data_pipeline.app.targets import Target, target_of
from market_data_pipeline.core.errors import SourceUnavailable, UsageError
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.app.conftest import Load
from market_data_pipeline_tests.core.fakes import span
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange


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


def test_a_window_before_a_dataset_is_asked_about_and_what_the_pair_has_of_it_is_loaded(settings: Settings):
    target = target_of(settings, "futures", "NEAR/USDT")
    listed = run_window(settings, BackfillRequest(target, "2020-10-20", "2020-10-21")).dataset
    assert listed.start.isoformat() == "2020-10-15"
    with pytest.raises(UsageError, match="NEAR/USDT has klines from 2020-10-15T07:00Z, none in the requested window"):
        run_window(settings, BackfillRequest(target, "2020-05-01", "2020-05-02"))
    within = run_window(settings, BackfillRequest(target, "2020-05-01", "2020-10-17"))
    assert within.window == span("2020-10-15T07:00Z", "2020-10-17")
    # The start stays where it is, so the run notes what was requested.
    assert store_of(settings).find(target.market, target.pair) == within.dataset == listed
    with pytest.raises(SourceUnavailable):
        run_window(offline(settings), BackfillRequest(target, "2020-05-01", "2020-10-17"))


@pytest.fixture
def reused(settings: Settings) -> Iterator[Settings]:
    """Settings of an exchange on which the symbol of LIT/USDT was another pair's before."""
    earlier = {"first": "2025-01-28T00:00Z", "last": "2025-01-31T08:59Z"}
    lit = {"first": "2025-12-23T17:30Z", "archive_only": earlier}
    with scenario_exchange({"now": "2025-12-26T12:00Z", "futures": {"LITUSDT": lit}}) as playing:
        yield settings.model_copy(update={"market_data_exchange_url": playing.url, "market_data_source": "auto"})


@pytest.mark.parametrize("end", ["2025-01-31T12:00", "2025-02-01", "2025-12-26"])
def test_a_run_window_has_the_earlier_pair_of_a_symbol_of_which_a_dataset_knows_nothing(reused: Settings, end: str):
    target = target_of(reused, "futures", "LIT/USDT")
    begun = run_window(reused, BackfillRequest(target, "2025-12-24", "2025-12-25")).dataset
    assert begun.start.isoformat() == "2025-12-23"
    assert begun.reused is None
    found = run_window(reused, BackfillRequest(target, "2025-01-28", end))
    assert found.dataset.start.isoformat() == "2025-01-28"
    assert found.window.start_ms == span("2025-01-28", "2025-01-29").start_ms
    assert found.dataset.reused == span("2025-01-31T09:00", "2025-12-23T17:30")
    assert "an earlier pair had this symbol until 2025-01-31T09:00Z" in found.warnings[0]
