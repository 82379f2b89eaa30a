"""A dataset that live mode cannot read or write harms no other, and is followed again once it can be."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.live.runs_due import Reason
from market_data_pipeline.instance.composition import live_market_of
from market_data_pipeline_tests.core.live.test_journal_of_live import TODAY, Place, tick
from market_data_pipeline_tests.support import Simulate

pytestmark = pytest.mark.timeout(300)
ODD, OTHER = "ETH/USDT", "BTC/USDT"


@pytest.fixture
def place(simulate: Simulate, tmp_path: Path) -> Place:
    running = simulate(now=datetime.fromisoformat("2024-05-15T23:50:05").replace(tzinfo=UTC), weights=False)
    place = Place(running, tmp_path / "root")
    for pair in (ODD, OTHER):
        place.load(pair)
    return place


@contextmanager
def damaged(place: Place) -> Iterator[None]:
    """The `dataset.json` of the odd one is damaged in the block."""
    path = place.root / "binanceusdm" / "ETHUSDT" / "1m" / "dataset.json"
    good = path.read_bytes()
    path.write_bytes(b"{")
    yield
    path.write_bytes(good)


def test_one_that_cannot_be_opened_is_followed_once_it_can_and_the_other_meanwhile(place: Place) -> None:
    datasets = [place.open(pair).dataset for pair in (ODD, OTHER)]
    live = live_market_of(place.settings, Market.FUTURES, "a test")
    with damaged(place):
        assert live.follow(datasets) == {}
        assert [followed.name for followed in live.followed] == [f"futures {OTHER}"]
        [(name, why)] = live.trouble.items()
        assert name == f"futures {ODD}"
        assert "dataset.json is damaged" in why
    assert live.follow(datasets) == {}
    assert {followed.name for followed in live.followed} == {f"futures {ODD}", f"futures {OTHER}"}
    assert live.trouble == {}
    live.close()


def test_where_none_can_be_opened_the_reason_is_raised_and_no_right_is_kept(place: Place) -> None:
    dataset = place.open(ODD).dataset
    first, second = (live_market_of(place.settings, Market.FUTURES, who) for who in ("the first", "the second"))
    with damaged(place), pytest.raises(StoreError, match="dataset.json is damaged"):
        first.follow([dataset])
    assert second.follow([dataset]) == {}
    first.close()
    second.close()


def test_one_that_is_damaged_while_it_is_followed_keeps_no_manifest_and_no_run_from_the_other(place: Place) -> None:
    live = live_market_of(place.settings, Market.FUTURES, "a test")
    assert live.follow([place.open(pair).dataset for pair in (ODD, OTHER)]) == {}
    list(place.minutes(live, "2024-05-15T23:55"))
    with damaged(place):
        list(place.minutes(live, "2024-05-16T00:01"))
        place.running.exchange.clock.advance(3600)
        tick(live)
        live.flush()
        assert [(due.store.dataset.pair, due.reason, due.last.key) for due in live.due_days()] == [
            (OTHER, Reason.TO_CONFIRM, TODAY)
        ]
        assert live.follow([place.open(OTHER).dataset]) == {}
    assert [followed.name for followed in live.followed] == [f"futures {OTHER}"]
    second = live_market_of(place.settings, Market.FUTURES, "the second")
    assert second.follow([place.open(ODD).dataset]) == {}
    live.close()
    second.close()
