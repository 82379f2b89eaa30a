"""What a market and a dataset are without being asked: their first instants, and the names that users type."""

from datetime import date

import pytest

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market, default_start, parse_market
from market_data_pipeline.core.klines.days import iso, parse_zone


@pytest.mark.parametrize(("zone", "start"), [("UTC", "2020-01-01"), ("+14:00", "2020-01-01"), ("-02:00", "2019-12-31")])
def test_history_starts_on_the_local_day_of_one_instant(zone: str, start: str) -> None:
    assert default_start(parse_zone(zone)) == date.fromisoformat(start)


def test_a_market_is_as_old_as_its_first_kline() -> None:
    opened = {market.value: iso(market.opened_ms) for market in Market}
    assert opened == {"spot": "2017-08-17T04:00Z", "futures": "2019-09-08T17:57Z"}


def test_a_market_has_the_name_that_ccxt_has_for_its_class() -> None:
    assert {market: market.exchange_id for market in Market} == {
        Market.SPOT: "binance",
        Market.FUTURES: "binanceusdm",
    }
    assert {market: market.has_contracts for market in Market} == {Market.SPOT: False, Market.FUTURES: True}


def test_the_name_of_a_market_may_be_typed_in_capitals() -> None:
    assert parse_market(" Futures ") is Market.FUTURES
    with pytest.raises(UsageError, match="no such market: 'margin'; give spot or futures"):
        parse_market("margin")
