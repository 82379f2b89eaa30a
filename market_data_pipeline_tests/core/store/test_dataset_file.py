"""`dataset.json`: all that a dataset is comes back from it, and what it cannot be is refused with what to do."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.dataset_file import read_dataset, read_dataset_version, write_dataset
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import at, span

DATASET = Dataset(
    Market.FUTURES,
    "BTC/USDT",
    parse_zone("Europe/Zurich"),
    date(2024, 3, 1),
    live=True,
    requested=(span("2024-03-01", "2024-03-10"), span("2024-04-01", "2024-04-02")),
    reused=span("2022-05-01", "2022-06-01T03:00Z"),
    ended_ms=at("2024-04-09T22:00Z"),
)


@pytest.mark.parametrize("dataset", [DATASET, replace(DATASET, live=False, requested=(), reused=None, ended_ms=None)])
def test_a_dataset_is_read_as_it_was_written(root: Any, dataset: Dataset) -> None:
    write_dataset(root, dataset)
    path = root / "dataset.json"
    assert read_dataset(path) == dataset
    assert read_dataset_version(path) == (dataset, storage_of(path).version(path))


def test_a_file_is_lines_of_json_that_people_read(root: Any) -> None:
    write_dataset(root, DATASET)
    text = (root / "dataset.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "format": 1,
        "market": "futures",
        "pair": "BTC/USDT",
        "tz": "Europe/Zurich",
        "start": "2024-03-01",
        "live": True,
        "asked": [
            {"start": "2024-03-01T00:00Z", "end": "2024-03-10T00:00Z"},
            {"start": "2024-04-01T00:00Z", "end": "2024-04-02T00:00Z"},
        ],
        "reused": {"start": "2022-05-01T00:00Z", "end": "2022-06-01T03:00Z"},
        "ended": "2024-04-09T22:00Z",
    }


def refusal(root: Any, was: str, becomes: str) -> str:
    write_dataset(root, DATASET)
    path = root / "dataset.json"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes, 1))
    with pytest.raises(StoreError) as refused:
        read_dataset(path)
    said = str(refused.value)
    assert said.startswith(f"{path} is damaged (")
    assert said.endswith("); restore it, or move it away and run backfill again")
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ('"live": true', '"live": true, "live": false', "a key is there twice: format, market, pair, tz, start, live"),
        ('"pair": "BTC/USDT"', '"pair": "BTCUSDT"', "pair: 'BTCUSDT' is not BASE/QUOTE"),
        ('"pair": "BTC/USDT"', f'"pair": "{"A" * 101}"', "pair is too long"),
        ('"tz": "Europe/Zurich"', '"tz": "Nowhere"', "Nowhere"),
        ('"market": "futures"', '"market": "bonds"', "bonds"),
        ('"format": 1', '"format": 0', "format"),
        ('"start": "2024-03-01"', '"start": "1900-03-01"', "1900"),
        ('"end": "2024-03-10T00:00Z"', '"end": "2024-02-10T00:00Z"', "is not after the start"),
        ('"end": "2024-03-10T00:00Z"', '"end": "soon"', "soon"),
        ('"ended": "2024-04-09T22:00Z"', '"ended": "1900-04-09T22:00Z"', "is no minute"),
        ('"ended": "2024-04-09T22:00Z"', '"ended": "never"', "never"),
    ],
)
def test_what_no_dataset_can_be_is_refused_with_what_it_is(root: Any, was: str, becomes: str, problem: str) -> None:
    assert problem in refusal(root, was, becomes)


@pytest.mark.parametrize("start", ["2024-03-01", "2024-03-01T00:00", "2024-03-01T01:00+01:00"])
@pytest.mark.parametrize("end", ["2024-03-10", "2024-03-10T00:00", "2024-03-10T01:00+01:00"])
def test_a_window_that_a_person_wrote_in_another_way_is_one_of_utc(root: Any, start: str, end: str) -> None:
    write_dataset(root, DATASET)
    path = root / "dataset.json"
    text = path.read_text().replace('"2024-03-01T00:00Z"', f'"{start}"').replace('"2024-03-10T00:00Z"', f'"{end}"')
    path.write_text(text)
    assert f'"{start}"' in text and f'"{end}"' in text
    assert read_dataset(path) == DATASET


def test_a_file_that_is_missing_is_told_from_a_damaged_one(root: Any) -> None:
    path = root / "dataset.json"
    with pytest.raises(StoreError) as refused:
        read_dataset(path)
    assert str(refused.value) == f"{path} is missing; restore it, or move its folder away and run backfill again"


def test_windows_that_touch_are_one(root: Any) -> None:
    touching = (span("2024-03-10", "2024-03-11"), span("2024-03-01", "2024-03-10"))
    write_dataset(root, replace(DATASET, requested=touching))
    assert read_dataset(root / "dataset.json").requested == (span("2024-03-01", "2024-03-11"),)


def test_a_file_of_a_newer_version_is_not_called_damaged(root: Any) -> None:
    write_dataset(root, DATASET)
    path = root / "dataset.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2').replace('"asked"', '"wanted"'))
    with pytest.raises(StoreError) as refused:
        read_dataset(path)
    problem = "a newer version of market-data wrote it; update market-data"
    assert str(refused.value) == f"{path} cannot be used: {problem}"
