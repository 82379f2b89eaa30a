"""The API against its own OpenAPI document, with requests that schemathesis makes up, valid ones and others.

`MARKET_DATA_FUZZ_REQUESTS` is how many there are at least; `make fuzz` takes 20,000.
"""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from market_data_pipeline.api.app import create_app
from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.api.conftest import served
from market_data_pipeline_tests.api.fake_dagster import RUN_ID, fake_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
REQUESTS = int(os.environ.get("MARKET_DATA_FUZZ_REQUESTS", "0"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    root = tmp_path_factory.mktemp("contract")
    with serve(SimulatedExchange(weights=False)) as exchange, served(fake_dagster()[0]) as dagster_url:
        of_root = Settings(market_data_dir=root, market_data_exchange_url=exchange.url)
        yield create_app(of_root, dagster_url=dagster_url)


# No schema can tell which zones, dates and pairs there are, so requests that keep it may be refused with 422.
def test_every_answer_is_as_documented(app: FastAPI, subtests: pytest.Subtests) -> None:
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [operation.ok() for operation in document.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/backfill", "/runs/{run_id}", "/browse/file"}
    for operation in operations:
        # Streams never end while a run is under way, and the run of the fake is always.
        if operation.path == "/runs/{run_id}/events":
            continue

        @settings(
            max_examples=max(60, REQUESTS // len(operations)),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(case=operation.as_strategy(), known=st.booleans())
        def answers_as_documented(case: schemathesis.Case, known: bool) -> None:
            if known and "run_id" in case.path_parameters:
                case.path_parameters["run_id"] = RUN_ID
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        with subtests.test(operation.label):
            answers_as_documented()


def test_the_webserver_is_not_looked_for_behind_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with served(fake_dagster()[0]) as dagster_url:
        Dagster(dagster_url).require_reachable()
