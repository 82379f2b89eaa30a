"""Pages of the archive's listing that are not whole."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date

import pytest
from starlette.responses import Response

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.archive.files import Archive, ArchiveConnections
from market_data_pipeline.core.sources.archive.listing import start_of, utc_date
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.core.sources.raw_exchange import RawExchange, http, raw_exchange
from market_data_pipeline_tests.support import Simulate

PAGE = (
    "<ListBucketResult><IsTruncated>false</IsTruncated>"
    "<Contents><Key>data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-05-03.zip</Key></Contents>"
    "<Contents><Key>data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-05-04.zip</Key></Contents>"
    "</ListBucketResult>\n"
)


@pytest.fixture
def exchange() -> Iterator[RawExchange]:
    with raw_exchange() as running:
        yield running


def days(exchange: RawExchange) -> list[date]:
    with closing(Archive(Market.SPOT, "BTCUSDT", ArchiveConnections(base_url=exchange.url))) as archive:
        return archive.days(date(2024, 5, 1), date(2024, 5, 6))


def test_a_whole_page_tells_the_days(exchange: RawExchange) -> None:
    exchange.replies = {"data.binance.vision": [http(PAGE, 200, length=False)]}
    assert days(exchange) == [date(2024, 5, 3), date(2024, 5, 4)]


@pytest.mark.parametrize("until", ["<IsTruncated>", "<Contents>", "-05-04", "</ListBucketResult>"])
def test_a_page_that_is_cut_off_is_no_listing(exchange: RawExchange, until: str) -> None:
    # Without Content-Length the end of the connection is the end of the body.
    exchange.replies = {"data.binance.vision": [http(PAGE[: PAGE.index(until)], 200, length=False)]}
    exchange.files = {f"BTCUSDT-1m-2024-05-0{day}.zip.CHECKSUM": b"" for day in (3, 4)}
    assert days(exchange) == [date(2024, 5, 3), date(2024, 5, 4)]


@pytest.mark.parametrize("ending", [None, ".zip.CHECKSUM", ".zip"])
def test_without_a_listing_each_day_is_asked_for_and_no_file_is_downloaded(
    simulate: Simulate, ending: str | None
) -> None:
    running = simulate()

    def refuse(request: RequestInfo) -> Response | None:
        if request.area == "listing":
            return Response(status_code=503)
        return Response(status_code=404) if ending and request.path.endswith(ending) else None

    running.exchange.hooks.append(refuse)
    with closing(Archive(Market.SPOT, "BTCUSDT", ArchiveConnections(base_url=running.url))) as archive:
        assert archive.days(date(2024, 5, 6), date(2024, 5, 8)) == [date(2024, 5, day) for day in (6, 7, 8)]
        assert archive.days(date(2029, 5, 6), date(2029, 5, 8)) == []
        assert archive.traffic.received_bytes < 10_000  # a zip has more


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29)])
def test_each_day_has_a_start_also_before_1970_on_windows(day: date) -> None:
    assert utc_date(start_of(day)) == utc_date(start_of(day) + 86_399_999) == day
