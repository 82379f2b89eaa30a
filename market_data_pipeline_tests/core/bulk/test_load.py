"""Many datasets loaded in processes: each ends once, however it ends, and none takes another one with it."""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from market_data_pipeline.core.bulk.load import Ended, Work, load_many
from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, at
from market_data_pipeline_tests.support import flip_a_byte

pytestmark = pytest.mark.slow
PAIRS = ("ADA/USDT", "BTC/USDT", "ETH/USDT")
WINDOW = {"start_ms": at("2024-05-14T00:00Z"), "end_ms": at("2024-05-15T00:00Z")}


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


def ended(pairs: Sequence[str], work: Work, window: dict[str, int] = WINDOW) -> list[tuple[str, Ended]]:
    """The end of each load, by pair, in the order in which they end."""
    requests = [WindowRequest(Market.SPOT, pair, UTC_ZONE, **window) for pair in pairs]
    return [(request.pair, said) for request, said in load_many(requests, work) if isinstance(said, Ended)]


def test_a_dataset_whose_end_goes_wrong_ends_once_and_the_others_are_loaded(tmp_path: Path):
    ends = ended(PAIRS, Work(Store(tmp_path), opened, log))
    errors = {pair: end.error or "" for pair, end in ends}
    assert sorted(pair for pair, _ in ends) == list(PAIRS)
    assert errors["ETH/USDT"] == ""
    assert "Input/output error" in errors["ADA/USDT"]
    assert "ended with code 7" in errors["BTC/USDT"]


def good(market: Market, pair: str) -> Closing:
    return Closing()


def test_a_combined_file_that_cannot_be_built_fails_its_dataset_alone(tmp_path: Path) -> None:
    store, before = Store(tmp_path), {"start_ms": at("2024-05-13T00:00Z"), "end_ms": at("2024-05-14T00:00Z")}
    assert [end.error for _, end in ended(PAIRS, Work(store, good, log), before)] == [None] * 3
    [damaged] = tmp_path.glob("binance/BTCUSDT/1m/chunks/*.parquet")
    damaged.write_bytes(b"damaged")
    ends = dict(ended(PAIRS, Work(store, good, log, build_combined=True)))
    assert "run market-data --market spot --pair BTC/USDT verify --repair" in (ends["BTC/USDT"].error or "")
    assert [ends[pair].error for pair in ("ADA/USDT", "ETH/USDT")] == [None, None]
    combined = {pair: end.combined.path.name for pair, end in ends.items() if end.combined}
    assert combined == {"ADA/USDT": "ADAUSDT_1m_all.parquet", "ETH/USDT": "ETHUSDT_1m_all.parquet"}
    # Its own day was loaded and proven, as those of the others.
    assert [(end.status.chunks if end.status else 0, end.proof is not None) for end in ends.values()] == [(2, True)] * 3


def test_a_combined_file_that_was_there_before_is_still_compared(tmp_path: Path) -> None:
    work = Work(Store(tmp_path), good, log, refetch=True, build_combined=True)
    [(_, first)] = ended(PAIRS[:1], work)
    assert first.proof and first.proof.combined is Agreement.EQUAL
    [path] = tmp_path.glob("binance/ADAUSDT/1m/combined/*.parquet")
    flip_a_byte(path)
    [(_, again)] = ended(PAIRS[:1], work)
    assert again.proof and again.proof.combined is Agreement.DAMAGED


def gone_but_for_one(folder: Path, market: Market, pair: str) -> Closing:
    """The source of `ONE/USDT` waits until five others have found nobody."""
    if pair != "ONE/USDT":
        (folder / pair.replace("/", "")).touch()
        raise SourceUnavailable("nobody answers")
    until_s = time.monotonic() + 30
    while len(list(folder.iterdir())) < 5 and time.monotonic() < until_s:
        time.sleep(0.05)
    time.sleep(1)  # for what the last of them says to arrive
    return Closing()


def test_a_dataset_that_is_being_loaded_goes_on_where_others_find_nobody(tmp_path: Path) -> None:
    asked, store = tmp_path / "asked", Store(tmp_path / "root")
    asked.mkdir()
    others = [f"P{number:02d}/USDT" for number in range(20)]
    ends = ended(["ONE/USDT", *others], Work(store, partial(gone_but_for_one, asked), log))
    assert sorted(pair for pair, _ in ends) == ["ONE/USDT", *others]
    errors = {pair: end.error for pair, end in ends}
    assert errors.pop("ONE/USDT") is None
    tried = [pair for pair in others if errors[pair] == "nobody answers"]
    assert 5 <= len(tried) < len(others)
    said = "not tried, because the exchange did not answer for 5 pairs in a row"
    assert {errors[pair] for pair in others if pair not in tried} == {said}
