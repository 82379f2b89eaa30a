"""The results of checks: of which datasets Dagster is asked again, and when."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from market_data_pipeline.api.datasets.proofs import Proofs, ProofWatcher
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.instance.names import dataset_tag
from market_data_pipeline_tests.api.fake_dagster import execution
from market_data_pipeline_tests.support import wait_until

SPOT, FUTURES = (Dataset(market, "BTC/USDT", parse_zone("UTC"), date(2024, 1, 1)) for market in Market)


class FakeWebserver:
    """Each check of each dataset has passed, or has not."""

    def __init__(self) -> None:
        self.passed = True
        self.asked: list[str] = []

    def executions(self, checks: Sequence[tuple[Sequence[str], str]], *, limit: int) -> list[list[dict[str, Any]]]:
        self.asked += sorted({path[0] for path, _ in checks})
        return [[execution(self.passed)] for _ in checks]


@pytest.fixture
def dagster() -> FakeWebserver:
    return FakeWebserver()


@pytest.fixture
def watcher(dagster: FakeWebserver) -> ProofWatcher:
    return ProofWatcher(dagster)  # type: ignore[arg-type]


def complete(watcher: ProofWatcher, *datasets: Dataset) -> Proofs:
    wait_until(lambda: watcher.proofs(datasets).is_complete)
    return watcher.proofs(datasets)


def has_failed(watcher: ProofWatcher, dataset: Dataset) -> bool:
    return bool(complete(watcher, dataset).by_dataset[dataset_tag(dataset)].failed)


def test_each_dataset_is_asked_about_once_in_a_while(watcher: ProofWatcher, dagster: FakeWebserver) -> None:
    for _ in range(3):
        assert not has_failed(watcher, SPOT)
        assert not has_failed(watcher, FUTURES)
    assert dagster.asked == ["binance", "binanceusdm"]


def test_news_are_those_of_every_dataset_whichever_is_looked_at_first(
    watcher: ProofWatcher, dagster: FakeWebserver
) -> None:
    complete(watcher, SPOT)
    complete(watcher, FUTURES)
    dagster.passed = False
    assert not has_failed(watcher, FUTURES)
    watcher.expect_news()
    assert has_failed(watcher, SPOT)
    assert has_failed(watcher, FUTURES)
    assert dagster.asked == ["binance", "binanceusdm"] * 2
