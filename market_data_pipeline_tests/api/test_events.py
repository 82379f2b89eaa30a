"""GET /runs/{run_id}/events without a real Dagster: how the stream ends."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline_tests.api.conftest import client, served
from market_data_pipeline_tests.api.fake_dagster import RUN, RUN_ID, fake_dagster


@pytest.mark.timeout(60)
def test_the_events_of_a_run_that_is_deleted_end(tmp_path: Path) -> None:
    with served(fake_dagster(found=2)[0]) as url:
        answer = client(tmp_path, dagster_url=url).get(f"/runs/{RUN_ID}/events")
    events = [line for line in answer.text.splitlines() if line.startswith("event: ")]
    assert events == ["event: progress", "event: end"]
    assert "the run was deleted in Dagster" in answer.text


@pytest.mark.timeout(60)
def test_the_end_is_told_when_all_events_were_read(tmp_path: Path) -> None:
    began_s = time.monotonic()

    async def events() -> dict[str, Any]:
        return {"__typename": "EventConnection", "cursor": "1", "hasMore": time.monotonic() < began_s + 5, "events": []}

    with served(fake_dagster(run=RUN | {"status": "SUCCESS"}, logsForRun=events)[0]) as url:
        answer = client(tmp_path, dagster_url=url).get(f"/runs/{RUN_ID}/events")
    lines = answer.text.splitlines()
    assert [line for line in lines if line.startswith("event: ")] == ["event: progress", "event: end"]
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [(now["status"], now["up_to_date"]) for now in told] == [("success", False), ("success", True)]
