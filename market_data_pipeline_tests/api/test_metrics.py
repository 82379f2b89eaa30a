"""`/metrics`: after real loads, for many datasets, of a process that has no API; and the dashboard that shows it."""

import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from market_data_pipeline.core.counting.counts import COUNTERS, TIMERS
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline_tests.api.conftest import Api, client, served
from market_data_pipeline_tests.api.fake_dagster import fake_dagster
from market_data_pipeline_tests.api.pages.browsing import store_days
from market_data_pipeline_tests.dagster_dev import free_port
from market_data_pipeline_tests.support import CHECKOUT, MarketData, Simulate, strike, wait_until

COUNTED = {count.name: count for count in (*COUNTERS, *TIMERS)}
Samples = dict[tuple[str, ...], float]
SPOT = ("--market", "spot", "--pair", "ETH/USDT")
WINDOW = ("--start", "2024-05-10", "--end", "2024-05-13")


def samples(text: str) -> Samples:
    """The samples, by name and the values of the labels, which are in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(found: Samples, name: str) -> dict[tuple[str, ...], float]:
    return {labels: value for (of, *labels_), value in found.items() if of == name for labels in [tuple(labels_)]}


def scraped(root: Path, **options: Any) -> Samples:
    """What a new API shows, once it has read all datasets."""
    with client(root, **options) as api:
        while True:
            answer = api.get("/metrics")
            assert (answer.status_code, answer.headers["content-type"]) == (
                200,
                "text/plain; version=0.0.4; charset=utf-8",
            )
            found = samples(answer.text)
            markets = {market for (_, market), count in series(found, "market_data_datasets").items() if count}
            if markets <= {market for (market,) in series(found, "market_data_stored_days")}:
                return found
            time.sleep(1)


def test_an_empty_store_has_metrics(tmp_path: Path) -> None:
    found = scraped(tmp_path)
    assert series(found, "market_data_datasets") == {
        (live, market): 0 for live in ("true", "false") for market in ("spot", "futures")
    }
    assert found["market_data_weight_used", "spot"] == 0
    assert found["market_data_weight_limit", "futures"] == 2280
    assert found[("market_data_dagster_up",)] == 0
    assert series(found, "market_data_runs") == {}


@pytest.mark.slow
def test_loads_of_other_processes_are_counted(simulate: Simulate, market_data: Callable[..., MarketData]) -> None:
    exchange = simulate()
    strike(exchange.exchange, "500", times=2)
    tool = market_data(exchange, MARKET_DATA_SOURCE="rest")
    assert tool.run(*SPOT, "backfill", *WINDOW).returncode == 0
    both = ("--market", "spot", "--pair", "LTC/USDT", "--pair", "BNB/USDT")
    assert tool.run(*both, "backfill", *WINDOW).returncode == 0
    found = scraped(tool.root)
    assert found["market_data_days_loaded_total", "spot", "rest"] == 9
    assert found["market_data_klines_loaded_total", "spot", "rest"] == 9 * 1440
    assert found["market_data_stored_days", "spot"] == 9
    assert found["market_data_stored_klines", "spot"] == 9 * 1440
    assert found["market_data_unexplained_minutes", "spot"] == 0
    assert series(found, "market_data_retries_total")[("fault", "rest")] == 2
    assert found["market_data_store_seconds_count", "publish"] >= 9
    assert found["market_data_store_seconds_bucket", "+Inf", "publish"] >= 9
    assert found["market_data_store_seconds_count", "manifest"] >= 3


def test_the_number_of_series_does_not_grow_with_that_of_datasets(tmp_path: Path) -> None:
    for number in range(60):
        store_days(tmp_path, f"A{number:02d}/USDT", 2, first=f"2024-{1 + number % 12:02d}-01", live=True)
    found = scraped(tmp_path)
    named = series(found, "market_data_live_dataset_lag_seconds")
    assert len(named) == 20
    furthest = sorted(number for number in range(60) if number % 12 < 4)
    assert sorted(pair for _, pair in named) == [f"A{number:02d}/USDT" for number in furthest]
    assert found["market_data_live_late_datasets", "spot"] == 60
    lags = series(found, "market_data_live_lag_seconds")
    assert lags["spot", "0.5"] < lags["spot", "0.9"] <= lags["spot", "1"] == max(named.values())
    assert found["market_data_datasets", "true", "spot"] == 60
    assert len(found) < 80


def test_a_damaged_dataset_is_counted_and_hides_no_other(tmp_path: Path) -> None:
    store_days(tmp_path, "BTC/USDT", 3)
    store_days(tmp_path, "ETH/USDT", 3, market=Market.FUTURES)
    (tmp_path / "binance" / "BTCUSDT" / "1m" / "dataset.json").write_text("{", encoding="utf-8")
    found = scraped(tmp_path)
    assert found[("market_data_unreadable_datasets",)] == 1
    assert found["market_data_stored_days", "futures"] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right that users do not have")
def test_while_the_data_root_is_away_the_other_numbers_are_there(tmp_path: Path) -> None:
    root, app = tmp_path / "data", fake_dagster()[0]
    store_days(root, "BTC/USDT", 3)
    assert scraped(root)[("market_data_store_up",)] == 1
    (root / "binance").rename(tmp_path / "elsewhere")
    (root / "binance").symlink_to(root / "binance")
    with served(app) as dagster_url, client(root, dagster_url=dagster_url) as api:
        assert api.get("/browse").status_code == 503
        answer = api.get("/metrics")
    assert answer.status_code == 200
    found = samples(answer.text)
    assert (found[("market_data_store_up",)], found[("market_data_dagster_up",)]) == (0, 1)
    assert found["market_data_weight_limit", "spot"] > 0
    assert {"market_data_datasets", "market_data_unreadable_datasets"}.isdisjoint(name for name, *_ in found)


def test_it_is_kept_so_that_asking_often_costs_nothing(tmp_path: Path) -> None:
    app, received = fake_dagster()
    with served(app) as dagster_url, client(tmp_path, dagster_url=dagster_url) as api:
        answers = {api.get("/metrics").content for _ in range(50)}
    assert len(answers) == 1
    assert len([query for query in received if "count" in query["query"]]) == 1


def test_it_needs_no_token_and_shows_none_but_not_to_every_host(tmp_path: Path) -> None:
    with client(tmp_path, token="open sesame", hosts=()) as api:
        answer = api.get("/metrics")
        assert answer.status_code == 200
        assert "open sesame" not in answer.text
        assert api.get("/metrics", headers={"Host": "rebound.example"}).status_code == 400


@pytest.mark.slow
@pytest.mark.xdist_group("api")
def test_runs_are_those_of_dagster(api: Api) -> None:
    started = api.post(
        "/backfill", json={"market": "spot", "pair": "XRP/USDT", "start": "2024-03-01", "end": "2024-03-02"}
    )
    assert api.ended(started)["status"] == "success"
    # For seconds it is kept.
    wait_until(lambda: samples(api.get("/metrics").text).get(("market_data_runs", "success"), 0) >= 1)
    found = samples(api.get("/metrics").text)
    assert found[("market_data_dagster_up",)] == 1
    assert set(series(found, "market_data_runs")) == {
        ("queued",),
        ("running",),
        ("success",),
        ("failure",),
        ("canceled",),
    }


@pytest.mark.slow
def test_live_mode_serves_what_it_counts(simulate: Simulate, market_data: Callable[..., MarketData]) -> None:
    exchange = simulate(now=datetime(2024, 5, 15, 21, 30, 5, tzinfo=UTC), speed=60, weights=False)
    tool, port = market_data(exchange), free_port()

    def metrics() -> Samples:
        try:
            return samples(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text)
        except requests.ConnectionError:
            return {}

    with tool.start(*SPOT, "live", MARKET_DATA_METRICS_ADDRESS=str(port)) as process:
        wait_until(lambda: metrics().get(("market_data_live_tick_seconds_count", "spot"), 0) > 2)
        found = metrics()
        refused = requests.get(f"http://127.0.0.1:{port}/metrics", headers={"Host": "rebound.example"}, timeout=5)
        process.kill()
    assert refused.status_code == 400
    assert found["market_data_live_klines_total", "spot"] > 2
    assert found["market_data_live_updates_total", "spot", "good"] > 2
    assert found["market_data_store_seconds_count", "journal"] > 1
    assert "market_data_weight_used" in {name for name, *_ in found}
    # The counts stay when their process is gone; another one goes on with them.
    assert scraped(tool.root)["market_data_live_klines_total", "spot"] >= found["market_data_live_klines_total", "spot"]


def documented(header: str) -> dict[str, tuple[list[str], str]]:
    """Labels and text of each metric, by its name, in a table of docs/monitoring.md after this line."""
    _, _, rest = (CHECKOUT / "docs" / "monitoring.md").read_text(encoding="utf-8").partition(header)
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\| (.*) \|$", rest.partition("\n#")[0], re.MULTILINE)
    return {name: (re.findall(r"`(\w+)`", labels), text) for name, labels, text in rows}


def families(root: Path) -> dict[str, Metric]:
    """The metrics of an API, by the name in the docs."""
    with client(root) as api:
        parsed = text_string_to_metric_families(api.get("/metrics").text)
        return {family.name + ("_total" if family.type == "counter" else ""): family for family in parsed}


def test_every_metric_is_on_its_page_with_its_meaning(tmp_path: Path) -> None:
    shown = documented("## The numbers")
    assert {name: text for name, (_, text) in shown.items()} == {
        name: family.documentation for name, family in families(tmp_path).items()
    }
    assert {name: labels for name, (labels, _) in shown.items() if name in COUNTED} == {
        name: list(count.labels) for name, count in COUNTED.items()
    }


def test_every_metric_of_the_dashboard_exists(tmp_path: Path) -> None:
    names = set()
    for name, family in families(tmp_path).items():
        parts = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
        names |= {name + part for part in parts}
    dashboard = json.loads((CHECKOUT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    used = {name for query in queries for name in re.findall(r"market_data_\w+", query)}
    assert used - names == set()
    # Each has its panel, those of a histogram by one of its parts.
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} | used
    assert {name for name in families(tmp_path) if name not in stems} == set()


def test_the_configuration_of_prometheus_can_be_read() -> None:
    document = yaml.safe_load((CHECKOUT / "deploy" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert [job["job_name"] for job in document["scrape_configs"]] == ["market-data", "market-data-workers"]
