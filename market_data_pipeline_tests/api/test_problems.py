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
