"""The API in this process with nothing behind it, or served, with a real Dagster and a simulated exchange."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from market_data_pipeline.api.app import create_app
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.dagster_dev import Ui, dagster_dev, wait_for

NOWHERE = "http://127.0.0.1:9"
NOW = datetime(2024, 3, 5, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Api:
    """A running API and the Dagster behind it."""

    url: str
    ui: Ui
    root: Path

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=120, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return requests.delete(self.url + path, timeout=60, **options)

    def ended(self, started: requests.Response) -> dict[str, Any]:
        """The run that a 202 started, after its end."""
        assert started.status_code == 202, started.text
        url = self.url + started.json()["status_url"]

        def over() -> Any:
            now = requests.get(url, timeout=60).json()
            return now if now["status"] not in {"queued", "running"} else None

        run: dict[str, Any] = wait_for(over, self.ui.log)
        return run


def client(
    root: Path, *, token: str | None = None, dagster_url: str = NOWHERE, exchange_url: str = NOWHERE, **options: Any
) -> TestClient:
    """An app in this process, without an exchange and without Dagster unless their addresses are given."""
    secret = SecretStr(token) if token else None
    settings = Settings(market_data_dir=root, market_data_api_token=secret, market_data_exchange_url=exchange_url)
    return TestClient(create_app(settings, dagster_url=dagster_url, **options), base_url="http://127.0.0.1:8000")


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    root = tmp_path_factory.mktemp("api")
    with (
        serve(SimulatedExchange(now=NOW, weights=False)) as exchange,
        dagster_dev(root, MARKET_DATA_EXCHANGE_URL=exchange.url, MARKET_TYPE="spot") as ui,
    ):
        settings = Settings(
            market_data_dir=root / "data",
            dagster_home=root / "dagster",
            log_dir=root / "logs",
            market_data_exchange_url=exchange.url,
            market_type="spot",
        )
        with served(create_app(settings, dagster_url=ui.url)) as url:
            yield Api(url, ui, root / "data")
