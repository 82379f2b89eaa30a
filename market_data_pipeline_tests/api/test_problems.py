"""Errors are problem details: one line that says what is wrong and what to do."""

from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline_tests.api.conftest import client


@pytest.mark.parametrize(
    ("path", "body", "field", "says"),
    [
        ("/backfill", {"pair": "BTC-USDT"}, "pair", "BASE/QUOTE"),
        ("/backfill", {"market": "options"}, "market", "spot"),
        ("/backfill", {"tz": "Mars/Olympus"}, "tz", "Mars/Olympus"),
        ("/backfill", {"start": "yesterday"}, "start", "2024-03-31"),
        ("/backfill", {"chunk_size": 0}, "chunk_size", "1"),
        ("/backfill", {"source": "ftp"}, "source", "archive"),
        ("/backfill", {"begin": "2024-01-01"}, "begin", "not permitted"),
        ("/verify", {"repair": "perhaps"}, "repair", "boolean"),
    ],
)
def test_wrong_input_names_the_field_and_the_remedy(
    tmp_path: Path, path: str, body: dict[str, Any], field: str, says: str
) -> None:
    refused = client(tmp_path).post(path, json=body)
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    (error,) = refused.json()["errors"]
    assert error["field"] == field
    assert says in error["problem"]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/runs/a_b", "run_id: not the id of a run; give `run_id` of the response that started it"),
        ("/browse/coverage?until=2024-13", "until: not a month; write 2024-03"),
        (
            "/browse?sort=price",
            "sort: nothing to sort by; give name, market, quote, health, proof, freshness, days, klines, size, or one "
            "with - before it",
        ),
    ],
)
def test_a_text_of_another_form_is_answered_with_what_to_write(tmp_path: Path, path: str, detail: str) -> None:
    refused = client(tmp_path).get(path, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json()["detail"]) == (422, detail)


@pytest.mark.parametrize(
    ("body", "problem"), [(b"{oops", "not JSON: Expecting property name"), (b"", "Field required"), (b"[]", "object")]
)
def test_a_body_that_is_no_json_object(tmp_path: Path, body: bytes, problem: str) -> None:
    refused = client(tmp_path).post("/backfill", content=body, headers={"Content-Type": "application/json"})
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["field"]) == (422, "body")
    assert problem in error["problem"]


def test_without_dagster_the_error_names_the_command_that_starts_it(tmp_path: Path) -> None:
    backfill = client(tmp_path).post("/backfill", json={})
    assert backfill.status_code == 503
    assert "market-data up" in backfill.json()["detail"]
    assert "\n" not in backfill.json()["detail"]


@pytest.mark.parametrize("path", ["/browse", "/browse/coverage"])
def test_a_disk_that_cannot_be_read_is_a_page_for_people_and_a_problem_for_programs(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    try:
        root.symlink_to(root)
    except OSError:
        pytest.skip("this system makes no links")
    for accepted, kind in (("text/html", "text/html"), ("application/json", "application/problem+json")):
        answer = client(root).get(path, headers={"Accept": accepted})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (503, kind)
        assert "The disk is not available" in answer.text
