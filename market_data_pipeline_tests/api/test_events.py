"""GET /runs/{run_id}/events without a real Dagster: how the stream ends."""

from pathlib import Path

import pytest

from market_data_pipeline_tests.api.conftest import client, served
from market_data_pipeline_tests.api.fake_dagster import RUN_ID, fake_dagster


@pytest.mark.timeout(60)
def test_the_events_of_a_run_that_is_deleted_end(tmp_path: Path) -> None:
    with served(fake_dagster(found=2)[0]) as url:
        answer = client(tmp_path, dagster_url=url).get(f"/runs/{RUN_ID}/events")
    events = [line for line in answer.text.splitlines() if line.startswith("event: ")]
    assert events == ["event: progress", "event: end"]
    assert "the run was deleted in Dagster" in answer.text
