"""GET /health: the checks of `app.health` and one of the webserver, and how often they run."""

import time
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.api import health
from market_data_pipeline.app.health import Sign
from market_data_pipeline_tests.api.conftest import client, served
from market_data_pipeline_tests.api.fake_dagster import fake_dagster


def signs(answer: Any) -> dict[str, bool]:
    return {sign["name"]: sign["ok"] for sign in answer.json()["signs"]}


def test_a_check_that_fails_is_503(tmp_path: Path) -> None:
    answer = client(tmp_path).get("/health")
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
    answer = client(tmp_path).get("/health")
    assert (answer.status_code, signs(answer)["dagster"]) == (503, False)


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
    monkeypatch.setattr(health.time, "monotonic", lambda: now_s)
    api = client(tmp_path)
    for later_s, times in ((0, 1), (14, 1), (16, 2)):
        now_s += later_s
        api.get("/health")
        assert len(checked) == times, later_s
        now_s -= later_s
