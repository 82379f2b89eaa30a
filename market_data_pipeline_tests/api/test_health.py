"""GET /health: the checks of `app.health` and one of the webserver, and how often they run."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from fastapi import Request, Response
from fastapi.testclient import TestClient
from starlette.middleware.base import RequestResponseEndpoint

from market_data_pipeline.api import health
from market_data_pipeline.api.app import create_app
from market_data_pipeline.app.health import Sign
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.api.conftest import NOWHERE, client, served
from market_data_pipeline_tests.api.fake_dagster import RUN_ID, fake_dagster
from market_data_pipeline_tests.support import mark_many_live


def signs(answer: Any) -> dict[str, bool]:
    return {sign["name"]: sign["ok"] for sign in answer.json()["signs"]}


def complete(api: TestClient) -> Any:
    """The answer after all checks, which go on while the exchange is tried again."""
    until = time.monotonic() + 60
    while "checks" in signs(answer := api.get("/health")):
        assert time.monotonic() < until, "the checks never end"
    return answer


def test_a_check_that_fails_is_503(tmp_path: Path) -> None:
    answer = complete(client(tmp_path))
    assert (answer.status_code, answer.json()["ok"]) == (503, False)
    assert signs(answer) == {
        "data root": True,
        "disk": True,
        "datasets": True,
        "dagster": True,
        "exchange": False,
        "webserver": False,
    }


def test_a_damaged_dagster_home_is_503(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("storage: {custom: [")
    answer = complete(client(tmp_path))
    assert (answer.status_code, signs(answer)["dagster"]) == (503, False)


def test_a_daemon_that_is_needed_and_does_not_run_is_503(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("run_launcher: {module: some.launcher, class: Launcher}\n")
    answer = complete(client(tmp_path))
    assert (answer.status_code, signs(answer)["daemon"]) == (503, False)


def test_all_checks_good_is_200(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "check_health", lambda settings, target: [Sign("disk", ok=True, detail="9 GB free")])
    with served(fake_dagster()[0]) as dagster_url:
        answer = client(tmp_path, dagster_url=dagster_url).get("/health")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "ok": True,
            "signs": [
                {"name": "disk", "ok": True, "detail": "9 GB free"},
                {"name": "webserver", "ok": True, "detail": dagster_url},
            ],
        },
    )


def test_checks_run_again_after_15_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, now_s = [], time.monotonic()
    monkeypatch.setattr(health, "check_health", lambda settings, target: checked.append(1) or [])
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: now_s))
    api = client(tmp_path)
    for later_s, times in ((0, 1), (14, 1), (16, 2)):
        now_s += later_s
        api.get("/health")
        assert len(checked) == times, later_s
        now_s -= later_s


def test_many_live_datasets_and_a_silent_exchange_are_answered_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(market_data_dir=tmp_path, market_data_exchange_url=url)
        mark_many_live(settings, 200)
        with served(create_app(settings, dagster_url=NOWHERE)) as api:
            requests.get(api + "/status", timeout=60)  # the first request imports what the others use
            with ThreadPoolExecutor(100) as callers:
                answers = list(callers.map(lambda _: timed(api + "/health"), range(100)))
            passes = [thread for thread in threading.enumerate() if thread.name == "health"]
    assert max(seconds for seconds, _ in answers) < 5
    assert {answer.status_code for _, answer in answers} == {503}
    seen = signs(answers[-1][1])
    assert seen["checks"] is seen["webserver"] is False
    assert seen["data root"] is seen["datasets"] is True
    assert len(passes) == 1, "a check for each request"


def test_a_silent_dagster_hides_no_other_check(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(market_data_dir=tmp_path, market_data_exchange_url=NOWHERE)
        storage = f"storage: {{postgres: {{postgres_url: 'postgresql://me@{address}/dagster'}}}}\n"
        (tmp_path / "dagster" / "dagster.yaml").write_text(storage)
        with served(create_app(settings, dagster_url=f"http://{address}")) as api:
            requests.get(api + "/status", timeout=60)
            seconds, answer = timed(api + "/health")
    assert seconds < 5
    assert {"data root", "disk", "datasets"} <= signs(answer).keys()
    assert signs(answer)["webserver"] is False
    assert signs(answer)["checks"] is False


def test_requests_that_wait_for_dagster_leave_health_an_answer(tmp_path: Path) -> None:
    dagster, _ = fake_dagster()
    arrived, go_on = threading.Event(), threading.Event()

    @dagster.middleware("http")
    async def wait(request: Request, respond: RequestResponseEndpoint) -> Response:
        arrived.set()
        while not go_on.is_set():
            await asyncio.sleep(0.02)
        return await respond(request)

    settings = Settings(market_data_dir=tmp_path, market_data_exchange_url=NOWHERE)
    with (
        ThreadPoolExecutor(60) as callers,
        served(dagster) as dagster_url,
        served(create_app(settings, dagster_url=dagster_url)) as api,
    ):
        timed(api + "/health")  # the first request imports what the others use
        # More than the pool that answers requests has threads.
        waiting = [callers.submit(timed, f"{api}/runs/{RUN_ID}") for _ in range(60)]
        assert arrived.wait(50)
        time.sleep(1)
        answers = [timed(api + "/health") for _ in range(3)]
        still_wait = not any(each.done() for each in waiting)
        go_on.set()
        assert {each.result()[1].status_code for each in waiting} <= {200, 503}
    assert max(seconds for seconds, _ in answers) < 5
    assert {answer.status_code for _, answer in answers} == {503}
    assert still_wait


def timed(url: str) -> tuple[float, requests.Response]:
    began_s = time.monotonic()
    answer = requests.get(url, timeout=60)
    return time.monotonic() - began_s, answer
