"""What the API reads from results of the Dagster webserver, and what it does without one."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from fastapi import FastAPI

from market_data_pipeline.api.dagster_client import Dagster, DagsterUnavailable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.instance.names import DATASET_TAG, RANGE_END_TAG, RANGE_START_TAG, WHAT_TAG, dataset_tag
from market_data_pipeline_tests.api.conftest import NOWHERE, served
from market_data_pipeline_tests.api.fake_dagster import RUN, RUN_ID, fake_dagster

DATASET = Dataset(Market.SPOT, "BTC/USDT", parse_zone("UTC"), date(2024, 1, 1), ())
REFUSED = {"__typename": "PythonError", "message": "no such\n  thing"}


def run(*assets: str, checked: tuple[str, ...] = (), job: str = "__ASSET_JOB", **tags: str) -> dict[str, Any]:
    """A run of `TOKEN/asset` of spot."""
    return RUN | {
        "pipelineName": job,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "assetSelection": [{"path": ["binance", *asset.split("/")]} for asset in assets],
        "assetCheckSelection": [{"assetKey": {"path": ["binance", *asset.split("/")]}} for asset in checked],
    }


def last_runs(*runs: dict[str, Any], of: Dataset = DATASET, **options: Any) -> Any:
    results = {"__typename": "Runs", "results": list(runs)}
    with served(fake_dagster(runsOrError=results)[0]) as url:
        return Dagster(url, public_url="http://dagster.example/").last_runs(of, **options)


@pytest.mark.parametrize(
    ("of_dagster", "what"),
    [
        (run("BTCUSDT/klines_1m", "BTCUSDT/manifest"), "backfill"),
        (run("BTCUSDT/combined"), "combine"),
        (run(checked=("BTCUSDT/manifest",)), "verify"),
        (run("BTCUSDT/manifest"), "run"),
        (run("BTCUSDT/klines_1m", **{WHAT_TAG: "repair"}), "repair"),
    ],
)
def test_what_a_run_is(of_dagster: dict[str, Any], what: str) -> None:
    (summary,) = last_runs(of_dagster)
    assert (summary.what, summary.status, summary.began_s, summary.ended_s) == (what, "running", 1.0, None)
    assert summary.url == f"http://dagster.example/runs/{RUN_ID}"


def test_the_days_of_a_run() -> None:
    days = {RANGE_START_TAG: "2024-01-01", RANGE_END_TAG: "2024-01-31"}
    first, second, third = last_runs(
        run("BTCUSDT/klines_1m", **days),
        run("BTCUSDT/klines_1m", **{"dagster/partition": "2024-02-01"}),
        run("BTCUSDT/klines_1m"),
    )
    assert first.days == ("2024-01-01", "2024-01-31")
    assert second.days == ("2024-02-01", "2024-02-01")
    assert third.days is None


def test_last_runs_are_those_of_the_dataset() -> None:
    others = [run("ETHUSDT/klines_1m"), run(checked=("ETHUSDT/manifest",)), run()]
    assert last_runs(*others) == []
    assert len(last_runs(*others, *[run("BTCUSDT/klines_1m")] * 3, limit=2)) == 2


def test_a_run_without_assets_is_of_the_dataset_that_its_tag_names() -> None:
    tag = {DATASET_TAG: "binance/BTCUSDT"}
    runs = [run(job="repair", **tag), run(job="load", **tag), run(job="load", **{DATASET_TAG: "binance/ETHUSDT"})]
    assert [each.what for each in last_runs(*runs)] == ["repair", "backfill"]
    of_life = Dataset(Market.SPOT, "币安人生/USDT", parse_zone("UTC"), date(2024, 1, 1), ())
    assert len(last_runs(run(job="repair", **{DATASET_TAG: dataset_tag(of_life)}), of=of_life)) == 1


@pytest.mark.parametrize(("first_day", "is_there"), [("2024-01-01", True), ("2023-12-31", False)])
def test_many_datasets_are_looked_for_in_few_requests(first_day: str, is_there: bool) -> None:
    node = {"__typename": "AssetNode", "partitionKeyConnection": {"results": [first_day]}}
    app, received = fake_dagster(assetNodeOrError=node)
    assets = [(("binance", f"P{number}USDT", "klines_1m"), "2024-01-01") for number in range(250)]
    with served(app) as url:
        assert Dagster(url).has_assets(assets) is is_there
        assert Dagster(url).has_assets([]) is True
    assert len(received) <= 3


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [
        ({"__typename": "PartitionBackfills", "results": [{"id": "odlmabts"}]}, True),
        ({"__typename": "PartitionBackfills", "results": []}, False),
        (REFUSED, False),
    ],
)
def test_whether_a_backfill_goes_on(answer: dict[str, Any], is_there: bool) -> None:
    with served(fake_dagster(partitionBackfillsOrError=answer)[0]) as url:
        assert Dagster(url).has_backfill() is is_there


def test_an_asset_that_dagster_does_not_know_is_lacking() -> None:
    with served(fake_dagster()[0]) as url:
        assert not Dagster(url).has_assets([(("binance", "BTCUSDT", "klines_1m"), "2024-01-01")])


@pytest.mark.parametrize(
    ("field", "use"),
    [
        ("launchRun", lambda dagster: dagster.launch(assets=[["binance", "BTCUSDT", "klines_1m"]])),
        ("terminateRun", lambda dagster: dagster.cancel(RUN_ID)),
        ("startSensor", lambda dagster: dagster.start_sensor(Market.SPOT)),
        ("reloadRepositoryLocation", lambda dagster: dagster.reload()),
    ],
)
def test_what_dagster_refuses_is_an_error_of_one_line(field: str, use: Callable[[Dagster], Any]) -> None:
    with served(fake_dagster(**{field: REFUSED})[0]) as url, pytest.raises(DagsterUnavailable, match="no such thing$"):
        use(Dagster(url))


def test_a_webserver_whose_database_is_away_is_said_to_answer() -> None:
    app = FastAPI()

    @app.post("/graphql")
    def graphql() -> dict[str, Any]:
        return {"data": None, "errors": [{"message": "connection to server\nfailed"}]}

    with served(app) as url, pytest.raises(DagsterUnavailable) as raised:
        Dagster(url).run(RUN_ID)
    assert str(raised.value) == f"the Dagster webserver at {url} answers with an error: connection to server failed"


def test_without_a_webserver_the_error_names_its_address_and_the_remedy() -> None:
    with pytest.raises(DagsterUnavailable, match=f"{NOWHERE} .*market-data up"):
        Dagster(NOWHERE).run(RUN_ID)
    # Something else listens there.
    with served(fake_dagster(runsOrError=None)[0]) as url, pytest.raises(DagsterUnavailable, match="market-data up"):
        Dagster(url + "/elsewhere").run(RUN_ID)
