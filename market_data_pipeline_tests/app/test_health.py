"""Each check of health can fail, and says what to do."""

import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from market_data_pipeline.app.health import check_health
from market_data_pipeline.app.targets import Target
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.app.conftest import Load
from market_data_pipeline_tests.support import mark_many_live

NAMES = ["data root", "disk", "datasets", "dagster", "exchange", "clock", "weight"]


def bad(settings: Settings, target: Target) -> dict[str, str]:
    return {sign.name: sign.detail for sign in check_health(settings, target) if not sign.ok}


def test_all_is_good_before_and_after_a_load(load: Load, settings: Settings, target: Target):
    assert [sign.name for sign in check_health(settings, target)] == NAMES
    assert bad(settings, target) == {}
    load("2024-03-05", "2024-03-06")
    assert bad(settings, target) == {}


def spoil_settings(home: Path) -> None:
    (home / "dagster.yaml").write_text("storage: {custom: [")


def spoil_kind(home: Path) -> None:
    (home / "dagster.yaml").write_text("- a list\n")


def spoil_events(home: Path) -> None:
    for name in ("index.db-wal", "index.db-shm"):
        (home / "history" / "runs" / name).unlink(missing_ok=True)
    (home / "history" / "runs" / "index.db").write_bytes(b"no database at all" * 100)


@pytest.mark.parametrize("spoil", [spoil_settings, spoil_kind, spoil_events])
def test_a_damaged_dagster_home(load: Load, settings: Settings, target: Target, spoil: Callable[[Path], None]):
    load("2024-03-05", "2024-03-06")
    spoil(settings.home)
    assert list(bad(settings, target)) == ["dagster"]
    assert str(settings.home) in bad(settings, target)["dagster"]


def test_a_dagster_home_in_which_dagster_finds_no_settings(tmp_path: Path, settings: Settings, target: Target):
    elsewhere = settings.model_copy(update={"dagster_home": tmp_path / "of [mine]" / "dagster"})
    assert bad(elsewhere, target).keys() == {"dagster"}
    assert "set DAGSTER_HOME to another folder" in bad(elsewhere, target)["dagster"]


def test_a_dagster_home_that_cannot_be_made(tmp_path: Path, settings: Settings, target: Target):
    (tmp_path / "mine").write_bytes(b"")
    elsewhere = settings.model_copy(update={"dagster_home": tmp_path / "mine" / "dagster"})
    assert bad(elsewhere, target).keys() == {"dagster"}
    assert "DAGSTER_HOME" in bad(elsewhere, target)["dagster"]


def test_a_spent_budget(load: Load, settings: Settings, target: Target, running: RunningExchange):
    load("2024-03-05", "2024-03-06")
    (budget,) = settings.budgets[0].glob("*_spot.json")
    while (seconds := time.time() % 60) > 50:
        time.sleep(60 - seconds)  # the budget is that of a minute, which must not end before the check
    budget.write_text(json.dumps({"minute": int(time.time() // 60), "used": 10**6, "closed_until_s": 0}))
    requests = running.exchange.stats()["spot"]["requests"]
    assert list(bad(settings, target)) == ["weight"]
    assert running.exchange.stats()["spot"]["requests"] == requests


@pytest.mark.parametrize("seconds", [40, 4000])
def test_a_budget_that_the_exchange_closed(
    load: Load, settings: Settings, target: Target, running: RunningExchange, seconds: int
):
    load("2024-03-05", "2024-03-06")
    (dataset,) = store_of(settings).datasets()
    store_of(settings).open(dataset).mark_live(True)
    (budget,) = settings.budgets[0].glob("*_spot.json")
    closed = {"minute": int(time.time() // 60), "used": 0, "closed_until_s": time.time() + seconds}
    budget.write_text(json.dumps(closed))
    requests, began_s = running.exchange.stats()["spot"]["requests"], time.monotonic()
    failed = bad(settings, target)
    assert list(failed) == ["weight", "live"]
    assert "refuses requests" in failed["weight"]
    assert "was not checked" in failed["live"]
    assert running.exchange.stats()["spot"]["requests"] == requests
    assert time.monotonic() - began_s < 30, "it waited"


def test_a_damaged_dataset(load: Load, settings: Settings, target: Target):
    load("2024-03-05", "2024-03-06")
    (path,) = store_of(settings).dataset_files()
    path.write_text("{")
    assert {"datasets"} <= bad(settings, target).keys()


def test_no_exchange(settings: Settings, target: Target):
    offline = settings.model_copy(update={"market_data_exchange_url": "http://127.0.0.1:9"})
    assert list(bad(offline, target)) == ["exchange"]


def test_a_data_root_that_cannot_be_made(tmp_path: Path, settings: Settings, target: Target):
    (tmp_path / "file").write_bytes(b"")
    elsewhere = settings.model_copy(update={"market_data_dir": tmp_path / "file" / "root"})
    assert "data root" in bad(elsewhere, target)
    assert "MARKET_DATA_DIR" in bad(elsewhere, target)["data root"]


def test_a_disk_that_is_nearly_full(settings: Settings, target: Target, small_disk: Path):
    assert bad(settings.model_copy(update={"market_data_dir": small_disk}), target).keys() == {"disk"}


def test_a_clock_that_is_wrong(settings: Settings, target: Target):
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    with serve(SimulatedExchange(weights=False, now=in_an_hour)) as other:
        ahead = settings.model_copy(update={"market_data_exchange_url": other.url})
        signs = bad(ahead, target)
    assert signs.keys() == {"clock"}
    assert re.fullmatch("this machine's is (59|60) min behind; set this machine's clock, best by NTP", signs["clock"])


def test_a_live_dataset_that_is_behind(load: Load, settings: Settings, target: Target):
    load("2024-03-05", "2024-03-06")
    (dataset,) = store_of(settings).datasets()
    store_of(settings).open(dataset).mark_live(True)
    assert bad(settings, target).keys() == {"live"}
    assert " days behind the exchange" in bad(settings, target)["live"]


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
def test_a_live_dataset_that_the_disk_lets_nobody_read(load: Load, settings: Settings, target: Target):
    files = store_of(settings).open(load("2024-03-05", "2024-03-06").dataset)
    files.mark_live(True)
    mark_many_live(settings, 1)
    chunks = files.folder / "chunks"
    chunks.rename(chunks.with_name("elsewhere"))
    chunks.symlink_to(chunks)
    signs = [sign.detail for sign in check_health(settings, target) if sign.name == "live"]
    assert len(signs) == 2
    assert signs[0].startswith("spot BTC/USDT was not checked: ") and str(chunks) in signs[0]


def test_a_market_that_does_not_answer_is_asked_once_for_all_its_live_datasets(settings: Settings, target: Target):
    mark_many_live(settings, 30)
    offline = settings.model_copy(update={"market_data_exchange_url": "http://127.0.0.1:9"})
    began_s = time.monotonic()
    signs = [sign for sign in check_health(offline, target) if sign.name == "live"]
    assert len(signs) == 30
    assert not any(sign.ok for sign in signs)
    assert time.monotonic() - began_s < 30, "each was asked for"
