"""Many datasets loaded in processes: each ends once, however it ends, and none takes another one with it."""

import os
from pathlib import Path

import pytest

from market_data_pipeline.core.bulk.load import Ended, Work, load_many
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, at

pytestmark = pytest.mark.slow
PAIRS = ("ADA/USDT", "BTC/USDT", "ETH/USDT")


class Closing(FakeSource):
    """A source whose end goes wrong for some pairs."""

    pair = ""

    def usage(self) -> Usage:
        return Usage(0, 0, 0)

    def close(self) -> None:
        if self.pair == "ADA/USDT":
            raise OSError(5, "Input/output error", "load.lock")
        if self.pair == "BTC/USDT":
            os._exit(7)


def opened(market: Market, pair: str) -> Closing:
    source = Closing()
    source.pair = pair
    return source


def log() -> None:
    """These processes have no log."""


def test_a_dataset_whose_end_goes_wrong_ends_once_and_the_others_are_loaded(tmp_path: Path):
    window = {"start_ms": at("2024-05-14T00:00Z"), "end_ms": at("2024-05-15T00:00Z")}
    requests = [WindowRequest(Market.SPOT, pair, UTC_ZONE, **window) for pair in PAIRS]
    ends = [
        (request.pair, message.error)
        for request, message in load_many(requests, Work(Store(tmp_path), opened, log))
        if isinstance(message, Ended)
    ]
    errors = dict(ends)
    assert sorted(pair for pair, _ in ends) == list(PAIRS)
    assert errors["ETH/USDT"] is None
    assert "Input/output error" in (errors["ADA/USDT"] or "")
    assert "ended with code 7" in (errors["BTC/USDT"] or "")
