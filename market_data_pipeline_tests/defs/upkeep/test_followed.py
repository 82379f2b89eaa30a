"""Ticks of the sensor `live_is_followed`: when it records that nobody keeps a live dataset current, and when not."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.proof.rolling import Turns
from market_data_pipeline.defs.live_events import freshness_evaluation
from market_data_pipeline.defs.location import location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.defs.upkeep.followed import followed_sensor
from market_data_pipeline.instance.names import FOLLOWED, FRESH
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.defs.loading import load_today, settings_of
from market_data_pipeline_tests.simulator.scenarios import step
from market_data_pipeline_tests.support import Simulate

Tick = Callable[[], Any]


@pytest.fixture
def running(simulate: Simulate) -> RunningExchange:
    return simulate(weights=False)


@pytest.fixture
def settings(tmp_path: Path, running: RunningExchange) -> Settings:
    return settings_of(tmp_path, running.url)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def ticking(settings: Settings, instance: dg.DagsterInstance, running: RunningExchange, *datasets: Dataset) -> Tick:
    """Evaluates a tick on a machine whose clock is the exchange's, and keeps what it gives, as the daemon does."""
    clock = running.exchange.clock
    tools = replace(tools_of(settings), turns=Turns(clock=lambda: clock.now().timestamp()))
    repository = location_of(list(datasets), tools).get_repository_def()
    sensor = repository.get_sensor_def(FOLLOWED)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    cursor: str | None = None

    def tick() -> Any:
        nonlocal cursor
        with dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context:
            result = sensor.evaluate_tick(context)
        cursor = result.cursor
        for event in result.asset_events:
            assert isinstance(event, dg.AssetCheckEvaluation) and event.check_name == FRESH
            instance.report_runless_asset_event(event)
        return result

    return tick


def advance(running: RunningExchange, minutes: int) -> None:
    running.exchange.clock.advance(timedelta(minutes=minutes).total_seconds())


def test_nobody_is_told_of_a_dataset_that_is_current_or_not_live(settings, instance, running):
    live, other = load_today(settings), load_today(settings, "ETH/USDT", live=False)
    tick = ticking(settings, instance, running, live, other)
    assert (tick().asset_events, tick().skip_message) == ([], "1 live dataset looked at, 0 of them newly late.")
    advance(running, 9)
    assert tick().asset_events == []


def test_one_that_nobody_follows_fails_once_and_passes_when_it_is_current_again(settings, instance, running):
    tick = ticking(settings, instance, running, load_today(settings))
    advance(running, 26)
    first = tick()
    [late] = first.asset_events
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "behind the exchange; turn the live sensor on, or run market-data live" in late.description
    assert first.skip_message == "1 live dataset looked at, 1 of them newly late."
    assert tick().asset_events == []
    load_today(settings)
    [current] = tick().asset_events
    assert current.passed
    assert tick().asset_events == []


def test_of_many_that_are_late_five_are_told_in_a_tick(settings, instance, running):
    traded = [pair for pair in running.exchange.pairs if pair.market == "futures" and not (pair.end_ms or pair.ticker)]
    datasets = [load_today(settings, f"{pair.base}/{pair.quote}") for pair in traded[:7]]
    tick = ticking(settings, instance, running, *datasets)
    advance(running, 26)
    assert [len(tick().asset_events) for _ in range(3)] == [5, 2, 0]


def test_one_that_nobody_follows_is_found_behind_pairs_that_have_ended(settings, instance, running):
    """They are late by the clock in each tick, and no evaluation tells them from others."""
    traded = {"first": "2024-04-01T00:00Z"}
    ended = traded | {"last": "2024-05-15T11:59Z", "status": "SETTLING"}
    step(running, {"futures": {f"{name}USDT": traded for name in "ABCDEZ"}})
    tick = ticking(settings, instance, running, *(load_today(settings, f"{name}/USDT") for name in "ABCDEZ"))
    step(running, {"futures": {f"{name}USDT": ended for name in "ABCDE"} | {"ZUSDT": traded}})
    advance(running, 26)
    told = [[event.asset_key.path[1] for event in tick().asset_events if not event.passed] for _ in range(4)]
    assert told == [[], ["ZUSDT"], [], []]


def test_pairs_that_have_ended_pass_once_the_exchange_answers(settings, instance, running):
    """They failed while it did not, and never become current again. One that is late all the same does not pass."""
    tick = ticking(settings, instance, running, *ended_ones(settings, instance, running, "ABCDEF", failed="ABCDEF"))
    late = ticking(settings, instance, running, load_today(settings))
    advance(running, 26)
    assert told_by(late(), passed=False) == ["BTCUSDT"]
    assert [told_by(tick(), passed=True) for _ in range(3)] == [[f"{name}USDT" for name in "ABCDE"], ["FUSDT"], []]
    assert told_by(late(), passed=True) == []


def test_ended_pairs_that_failed_have_their_turn_beside_others(settings, instance, running):
    """These are late by the clock in each tick, too, and pass each time."""
    tick = ticking(settings, instance, running, *ended_ones(settings, instance, running, "ABCDEFG", failed="FG"))
    advance(running, 26)
    assert [told_by(tick(), passed=True) for _ in range(3)] == [["FUSDT"], ["GUSDT"], []]


def ended_ones(
    settings: Settings, instance: dg.DagsterInstance, running: RunningExchange, names: str, *, failed: str
) -> list[Dataset]:
    """Live datasets of pairs that are not traded any more; the check of those in `failed` has failed."""
    traded = {"first": "2024-04-01T00:00Z"}
    ended = traded | {"last": "2024-05-15T11:59Z", "status": "SETTLING"}
    step(running, {"futures": {f"{name}USDT": traded for name in names}})
    datasets = [load_today(settings, f"{name}/USDT") for name in names]
    step(running, {"futures": {f"{name}USDT": ended for name in names}})
    for name, dataset in zip(names, datasets, strict=True):
        if name in failed:
            instance.report_runless_asset_event(freshness_evaluation(dataset, False, "no answer"))
    return datasets


def told_by(result: Any, *, passed: bool) -> list[str]:
    return [event.asset_key.path[1] for event in result.asset_events if event.passed is passed]


def test_late_ones_of_both_markets_take_turns(settings, instance):
    """Nothing is stored of them, and nobody records that they failed, so they are late in each tick."""
    live = live_ones(settings, 7, Market.SPOT) + live_ones(settings, 7, Market.FUTURES)
    sensor, cursor, told = followed_sensor(live, tools_of(settings)), None, list[list[str]]()
    for _ in range(3):
        with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
            result = sensor(context)
        cursor = result.cursor
        told.append(["/".join(event.asset_key.path[:2]) for event in result.asset_events])
    assert [len(of_tick) for of_tick in told] == [5, 5, 5]
    assert len({name for of_tick in told for name in of_tick}) == 14


def test_few_live_ones_among_many_are_looked_at_in_each_tick(settings, instance):
    tools = tools_of(settings)
    for number in range(400):
        made = tools.store.create(Market.FUTURES, f"P{number}/USDT", zone=parse_zone("UTC"), start=date(2024, 5, 1))
        if number % 199 == 0:
            made.mark_live(True)
    sensor = followed_sensor(list(tools.store.datasets()), tools)
    with dg.build_sensor_context(instance=instance) as context:
        assert "3 live datasets looked at" in str(sensor(context).skip_reason.skip_message)


def test_many_live_ones_take_turns(settings, instance):
    live, cursor, cursors = live_ones(settings, 150), None, []
    for dataset in live:
        instance.report_runless_asset_event(freshness_evaluation(dataset, False, "told before"))
    sensor = followed_sensor(live, tools_of(settings))
    for _ in range(3):
        with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
            cursor = sensor(context).cursor
        cursors.append(str(cursor).partition("; ")[0])
    assert cursors == ["futures P100/USDT", "futures P050/USDT", "futures P150/USDT"]


def live_ones(settings: Settings, count: int, market: Market = Market.FUTURES) -> list[Dataset]:
    """Datasets that are marked live, and have no kline yet."""
    store = tools_of(settings).store
    for number in range(1, count + 1):
        made = store.create(market, f"P{number:03}/USDT", zone=parse_zone("UTC"), start=date(2024, 5, 1))
        made.mark_live(True)
    return [dataset for dataset in store.datasets() if dataset.market is market]


def test_an_exchange_that_does_not_answer_is_the_reason(settings, instance, running):
    away = settings.model_copy(update={"market_data_exchange_url": "http://127.0.0.1:9"})
    tick = ticking(away, instance, running, load_today(settings))
    advance(running, 26)
    [late] = tick().asset_events
    assert not late.passed and "127.0.0.1" in late.description


def test_a_damaged_dataset_hides_no_other(settings, instance, running):
    damaged, live = load_today(settings), load_today(settings, "ETH/USDT")
    tick = ticking(settings, instance, running, damaged, live)
    folder = tools_of(settings).store.folder(damaged.market, damaged.pair)
    (folder / "dataset.json").write_text("{", encoding="utf-8")
    advance(running, 26)
    [late] = tick().asset_events
    assert late.asset_key.path[1] == "ETHUSDT"


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
def test_a_dataset_that_the_disk_lets_nobody_read_hides_no_other(settings, instance, running):
    broken, live = load_today(settings), load_today(settings, "ETH/USDT")
    tick = ticking(settings, instance, running, broken, live)
    chunks = tools_of(settings).store.folder(broken.market, broken.pair) / "chunks"
    chunks.rename(chunks.with_name("elsewhere"))
    chunks.symlink_to(chunks)
    advance(running, 26)
    [late] = tick().asset_events
    assert late.asset_key.path[1] == "ETHUSDT"
