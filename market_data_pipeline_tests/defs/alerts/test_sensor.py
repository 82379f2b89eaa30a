"""Ticks of the sensor `alerts` with a real webhook, on the SQLite and the Postgres instance."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster_shared.error import SerializableErrorInfo
from pydantic import SecretStr

from market_data_pipeline.core.klines import findings
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.location import datasets_of, location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.instance.names import CAN_BE_READ, CHECKS, FRESH, KLINES
from market_data_pipeline.instance.queue.states import why_failed
from market_data_pipeline.instance.runs import open_instance
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.defs.alerts.receiver import SECRET, Receiver, receiving
from market_data_pipeline_tests.defs.loading import BTC

ETH = replace(BTC, pair="ETH/USDT")
COVERED = findings.COVERED
Tick = Callable[[], str]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    if request.param == "postgres":
        home.mkdir()
        url = request.getfixturevalue("postgres")
        settings = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
        settings |= {"run_retries": {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False}}
        (home / "dagster.yaml").write_text(json.dumps(settings), encoding="utf-8")
    else:
        prepare_home(home)
    with open_instance(home) as opened:
        yield opened


@pytest.fixture
def tick(instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path) -> Tick:
    """Evaluates a tick with the cursor of the last one, and returns what it says; the first has been."""
    return ticking(instance, receiver, tmp_path)


def ticking(instance: dg.DagsterInstance, receiver: Receiver, root: Path) -> Tick:
    """Each tick is one of a code location that has just been loaded, with two datasets that it begins with."""
    settings = Settings(
        market_data_dir=root / "data", market_data_alert_url=SecretStr(receiver.url), market_type="futures"
    )
    store = tools_of(settings).store
    for dataset in (BTC, ETH):
        store.create(dataset.market, dataset.pair, zone=dataset.zone, start=dataset.start)
    cursor: str | None = None

    def evaluate() -> str:
        nonlocal cursor
        repository = location_of(datasets_of(store, settings), tools_of(settings)).get_repository_def()
        sensor = repository.get_sensor_def("alerts")
        with dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context:
            result: Any = sensor.evaluate_tick(context)
        cursor = result.cursor
        assert SECRET not in cursor
        return str(result.skip_message)

    assert "From now on" in evaluate()
    return evaluate


def check(
    instance: dg.DagsterInstance,
    name: str,
    passed: bool,
    *,
    dataset: Dataset = BTC,
    severity: str = "ERROR",
    text: str = "",
) -> None:
    asset = CHECKS[name][0] if name in CHECKS else KLINES
    evaluation = dg.AssetCheckEvaluation(
        asset_key(dataset, asset), name, passed, {}, severity=dg.AssetCheckSeverity(severity), description=text
    )
    instance.report_runless_asset_event(evaluation)


def run(instance: dg.DagsterInstance, error: str = "", **tags: str) -> str:
    """A run that fails with this error, or succeeds without one; its id."""

    @dg.op
    def load() -> None:
        if error:
            raise ValueError(error)

    @dg.job(name="load_something")
    def job() -> None:
        load()

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config=quiet, tags=tags).run_id


def test_without_a_url_there_is_no_sensor(tmp_path: Path) -> None:
    location = location_of([BTC], tools_of(Settings(market_data_dir=tmp_path)))
    assert "alerts" not in {sensor.name for sensor in location.get_repository_def().sensor_defs}


def test_runs_that_fail_for_one_cause_are_one_message(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run(instance)
    assert tick() == "0 messages sent."
    for token, day in (("BTCUSDT", "2024-05-01"), ("ETHUSDT", "2024-05-02"), ("LTCUSDT", "2023-01-09")):
        last = run(instance, f"no answer to klines symbol={token} of {day}: Connection refused; check the network")
    assert tick() == "1 message sent."
    (message,) = receiver.messages
    assert message["text"].startswith("market-data: a run of load_something failed: no answer to klines symbol=LTCUSDT")
    assert message["text"].endswith("(3 times: load_something)")
    assert (message["kind"], message["severity"], message["failures"]) == ("failed", "error", 3)
    assert (message["run_id"], message["check"], message["what"]) == (last, None, ["load_something"])
    assert message["first_at_s"] <= message["last_at_s"]
    # Again soon after it was told, it is only counted; another cause is told.
    run(instance, "no answer to klines symbol=BNBUSDT of 2022-01-01: Connection refused; check the network")
    run(instance, "the disk is full")
    assert tick() == "1 message sent."
    assert "the disk is full" in receiver.texts[-1]
    assert tick() == "0 messages sent."


def test_of_a_run_that_dagster_starts_again_nobody_is_asked_to(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    again = {"dagster/max_retries": "1", "dagster/retry_on_asset_or_op_failure": "true"}
    run(instance, "the process is gone; run it again", **again)
    tick()
    assert receiver.texts == [
        "market-data: a run of load_something failed, and Dagster starts it again: the process is gone"
    ]
    run(instance, "the network is gone; run it again", **{"dagster/max_retries": "1"})
    tick()
    assert receiver.texts[-1] == "market-data: a run of load_something failed: the network is gone; run it again"


def test_a_run_that_is_given_up_after_its_last_start_is_told_as_that(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    again = {"dagster/max_retries": "1", "dagster/retry_on_asset_or_op_failure": "true"}
    run(instance, "the process is gone; run it again", **again)
    tick()
    run(instance, "the process is gone; run it again", **{"dagster/max_retries": "0", "dagster/retry_number": "3"})
    tick()
    assert len(receiver.texts) == 2
    assert receiver.texts[-1] == (
        "market-data: a run of load_something failed, and Dagster does not start it again any more: the process is "
        "gone; run it again"
    )


def test_a_run_whose_code_could_not_be_loaded_is_told_with_the_cause(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    """Dagster says of it that it was marked as failed from outside, and has the error in another event."""

    @dg.job(name="load_something")
    def nothing() -> None:
        """Do nothing."""

    failed = instance.create_run_for_job(nothing)
    error = SerializableErrorInfo("OSError: [Errno 22] the bucket does not exist (NoSuchBucket)\n", [], "OSError")
    instance.report_engine_event("Could not load job definition.", failed, EngineEventData.engine_error(error))
    instance.report_run_failed(failed)
    tick()
    assert receiver.texts[0].endswith(
        "a run of load_something failed: [Errno 22] the bucket does not exist (NoSuchBucket)"
    )
    assert why_failed(instance, failed.run_id).endswith("[Errno 22] the bucket does not exist (NoSuchBucket)")
    told = instance.create_run_for_job(nothing)
    instance.report_engine_event("Could not load job definition.", told, EngineEventData.engine_error(error))
    instance.report_run_failed(told, "The process of this run is gone.")
    assert why_failed(instance, told.run_id) == "The process of this run is gone."


def test_a_deleted_run_does_not_tell_older_failures_again(
    instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path
) -> None:
    """The newest event is an older one then, as in a new database."""
    run(instance, "the disk was full")
    tick = ticking(instance, receiver, tmp_path)
    newest = run(instance, "the network is gone")
    assert tick() == "1 message sent."
    instance.delete_run(newest)
    assert [tick() for _ in range(2)] == ["0 messages sent."] * 2
    run(instance, "the exchange is gone")
    assert tick() == "1 message sent."
    assert "the exchange is gone" in receiver.texts[-1]


def test_in_a_new_database_failures_since_the_last_look_are_told(
    instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path
) -> None:
    tick = ticking(instance, receiver, tmp_path)
    for _ in range(2):
        run(instance, "the disk is full")
    tick()
    instance.event_log_storage.wipe()
    run(instance, "the network is gone")
    assert tick() == "1 message sent."
    assert "the network is gone" in receiver.texts[-1]


def test_a_password_in_an_error_is_left_out(tick: Tick, instance: dg.DagsterInstance, receiver: Receiver) -> None:
    run(instance, "no answer from http://me:hunter2@proxy:3128 to time")
    tick()
    assert "http://proxy:3128" in receiver.texts[0]
    assert "hunter2" not in json.dumps(receiver.messages)


def test_a_check_that_fails_for_many_is_one_message_and_so_is_its_recovery(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    for dataset in (BTC, ETH):
        check(instance, COVERED, True, dataset=dataset)
    check(instance, COVERED, False, text="2024-05-01: 3 minutes are unexplained; run market-data verify --repair")
    check(instance, COVERED, False, dataset=ETH, text="2024-05-01: 3 minutes are unexplained")
    assert tick() == "1 message sent."
    assert receiver.messages[0]["check"] == COVERED
    assert receiver.messages[0]["what"] == ["binance/BTCUSDT", "binance/ETHUSDT"]
    assert "3 minutes are unexplained" in receiver.texts[0]
    check(instance, COVERED, True)
    assert tick() == "0 messages sent.", "one dataset still fails"
    check(instance, COVERED, True, dataset=ETH)
    assert tick() == "1 message sent."
    assert receiver.kinds == ["failed", "recovered"]
    assert "recovered: " in receiver.texts[1]
    assert tick() == "0 messages sent."


def test_a_check_of_datasets_that_were_deleted_is_over(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path
) -> None:
    """Nothing evaluates it any more; the code location is loaded again without it."""
    Store(tmp_path / "data").create(Market.FUTURES, "ETH/USDT", zone=BTC.zone, start=BTC.start)
    check(instance, COVERED, False, text="2024-05-01: 3 minutes are unexplained")
    assert tick() == "1 message sent."
    shutil.rmtree(tmp_path / "data" / "binance" / "ETHUSDT")
    assert tick() == "0 messages sent."
    shutil.rmtree(tmp_path / "data" / "binance" / "BTCUSDT")
    assert tick() == "1 message sent."
    assert receiver.kinds == ["failed", "recovered"]
    assert receiver.texts[-1] == (
        f"market-data: recovered: no dataset of binance has {COVERED} any more; before: {COVERED} of "
        "binance/BTCUSDT failed: 2024-05-01: 3 minutes are unexplained"
    )
    assert tick() == "0 messages sent."


def test_a_check_is_not_over_because_its_dataset_is_damaged_or_its_disk_away(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path
) -> None:
    spot = tmp_path / "data" / "binance"
    shutil.rmtree(spot / "ETHUSDT")
    check(instance, COVERED, False, text="2024-05-01: 3 minutes are unexplained")
    assert tick() == "1 message sent."
    (spot / "BTCUSDT" / "1m" / "dataset.json").write_text("{", encoding="utf-8")
    assert tick() == "0 messages sent."
    shutil.rmtree(tmp_path / "data")
    assert tick() == "0 messages sent."
    assert receiver.kinds == ["failed"]


def test_the_check_of_a_damaged_dataset_is_over_when_it_is_deleted(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path
) -> None:
    damaged = tmp_path / "data" / "binance" / "BTCUSDT" / "1m" / "dataset.json"
    damaged.write_text("{", encoding="utf-8")
    check(instance, CAN_BE_READ, False, text="it is damaged")
    assert tick() == "1 message sent."
    shutil.rmtree(damaged.parent.parent)
    assert tick() == "1 message sent."
    assert receiver.kinds == ["failed", "recovered"]


def test_a_check_of_the_default_dataset_is_over_when_that_is_deleted(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver, tmp_path: Path
) -> None:
    """Its assets stay in the code location, as before its first load."""
    store = Store(tmp_path / "data")
    default = store.create(Market.FUTURES, "BTC/USDT", zone=BTC.zone, start=BTC.start).dataset
    check(instance, COVERED, False, dataset=default, text="2024-05-01: 3 minutes are unexplained")
    assert tick() == "1 message sent."
    shutil.rmtree(tmp_path / "data" / "binanceusdm")
    assert tick() == "1 message sent."
    assert receiver.kinds == ["failed", "recovered"]


def test_warnings_are_not_sent_except_that_live_mode_is_late(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    check(instance, findings.PLAUSIBLE, False, severity="WARN", text="a price jumps")
    check(instance, FRESH, False, severity="WARN", text="9 min behind the exchange")
    tick()
    assert [(message["check"], message["severity"]) for message in receiver.messages] == [(FRESH, "warning")]


def test_what_comes_and_goes_is_not_told_each_time(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    for _ in range(4):
        check(instance, FRESH, False, severity="WARN", text="behind")
        tick()
        check(instance, FRESH, True, severity="WARN")
        tick()
    assert receiver.kinds == ["failed", "recovered"]


def test_many_causes_are_ten_messages_and_one_about_the_others(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    names = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
    ]
    for name in names:
        run(instance, f"the cause is {name}")
    assert tick() == "11 messages sent."
    assert receiver.kinds == ["failed"] * 10 + ["others"]
    assert receiver.messages[-1]["causes"] == 3
    assert [name for name in names if f"the cause is {name}" in receiver.texts[-1]] == names[10:]
    assert tick() == "0 messages sent."


def test_while_the_webhook_is_down_nothing_is_lost_and_its_url_is_not_shown(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    run(instance, "the disk is full")
    receiver.answers = [404]
    with caplog.at_level(logging.WARNING, "market_data_pipeline"):
        said = tick()
    assert said == (
        "the webhook answered with HTTP 404; check MARKET_DATA_ALERT_URL; 1 cause to tell, tried again at the next tick"
    )
    assert receiver.requests == 1, "what cannot pass is not tried again at once"
    assert "alerts wait" in caplog.text
    assert SECRET not in caplog.text
    run(instance, "another cause")
    assert tick() == "2 messages sent."
    assert len(receiver.messages) == 2


def test_a_fault_that_passes_is_tried_again_at_once(
    tick: Tick, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run(instance, "the disk is full")
    receiver.answers = [503, 429]
    assert tick() == "1 message sent."
    assert (receiver.requests, len(receiver.messages)) == (3, 1)


def test_nobody_listens(instance: dg.DagsterInstance, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = Receiver(url=f"http://127.0.0.1:9/services/{SECRET}?channel=ops")
    tick = ticking(instance, nowhere, tmp_path)
    run(instance, "the disk is full")
    said = tick()
    assert said.startswith("the webhook does not answer (Connection refused); 1 cause to tell")
    assert SECRET not in said + caplog.text
