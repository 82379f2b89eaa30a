"""The archive under /data, and REST pages made of archived days."""

import hashlib
from pathlib import Path

import pytest

from market_data_pipeline_tests.simulator.archives import as_csv, lines, path, small_zip, whole_day
from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, ms, opens
from market_data_pipeline_tests.simulator.conftest import Start


@pytest.mark.parametrize(
    ("market", "symbol", "day", "header"),
    [
        ("spot", "LTCUSDT", "2024-05-13", 0),
        ("futures", "LTCUSDT", "2024-05-13", 1),
        ("futures", "LTCUSDT", "2022-04-30", 0),
    ],
)
def test_a_synthetic_zip_holds_the_rows_of_rest(
    shared: ExchangeClient, market: str, symbol: str, day: str, header: int
) -> None:
    archived = lines(shared.get(path(market, symbol, day)).content)
    assert [line.startswith("open_time,") for line in archived[:2]] == [bool(header), False]
    assert archived[header:] == [as_csv(row) for row in whole_day(shared, market, symbol, day)]


def test_spot_times_are_microseconds_from_2025_on(fresh: ExchangeClient) -> None:
    fresh.exchange.clock.advance(365 * 86_400)
    before, after = (lines(fresh.get(path("spot", "BTCUSDT", day)).content)[-1] for day in ("2024-12-31", "2025-01-01"))
    assert (len(before.split(",")[0]), len(before.split(",")[6])) == (13, 13)
    assert after.split(",")[0] == f"{ms('2025-01-01T23:59')}000"
    assert after.split(",")[6] == f"{ms('2025-01-02') - 1}999"


def test_the_checksum_is_that_of_the_zip_and_both_repeat(shared: ExchangeClient) -> None:
    packed = shared.get(path("spot", "BTCUSDT", "2024-05-13")).content
    checksum = shared.get(path("spot", "BTCUSDT", "2024-05-13", ".CHECKSUM")).text
    assert checksum == f"{hashlib.sha256(packed).hexdigest()}  BTCUSDT-1m-2024-05-13.zip\n"


def test_a_monthly_zip_is_its_days(shared: ExchangeClient) -> None:
    month = lines(shared.get(path("spot", "XRPUSDT", "2024-02")).content)
    assert len(month) == 29 * 1440
    assert month[1440:2880] == lines(shared.get(path("spot", "XRPUSDT", "2024-02-02")).content)


def test_a_day_is_published_some_hours_after_its_end(start: Start) -> None:
    client = start()
    yesterday, today = path("spot", "BTCUSDT", "2024-05-14"), path("spot", "BTCUSDT", "2024-05-15")
    assert (client.get(yesterday).status_code, client.get(today).status_code) == (200, 404)
    client.exchange.clock.advance(12 * 3600)
    assert client.get(today).status_code == 404
    client.exchange.clock.advance(4 * 3600)
    assert client.get(today).status_code == 200


@pytest.mark.parametrize(
    "missing",
    [
        path("spot", "BTCUSDT", "2017-08-16"),
        path("spot", "NOPEUSDT", "2024-01-01"),
        path("spot", "BTCUSDT", "2024-02-30"),
        path("spot", "BTCUSDT", "2024-05"),
        path("spot", "BTCUSDT", "2017-08-16", ".CHECKSUM"),
        "/data/spot/daily/klines/",
    ],
)
def test_what_the_archive_lacks_is_not_found_as_xml(shared: ExchangeClient, missing: str) -> None:
    response = shared.get(missing)
    assert response.status_code == 404
    assert "<Code>NoSuchKey</Code>" in response.text


def test_a_listing_day_is_partial(shared: ExchangeClient) -> None:
    first = lines(shared.get(path("futures", "BTCUSDT", "2019-09-08")).content)
    assert len(first) == 6 * 60 + 3


@pytest.fixture(scope="module")
def archived(start: Start, real_archive: Path) -> ExchangeClient:
    return start(archive_dir=real_archive, weights=False)


@pytest.mark.real
@pytest.mark.parametrize(
    ("market", "symbol", "day", "rows"),
    [
        ("futures", "NEARUSDT", "2023-05-01", 1440),
        ("spot", "BTCUSDT", "2020-12-01", 1440),
        ("spot", "BTCUSDT", "2021-04-25", 1440 - 284),
        ("spot", "LTCUSDT", "2021-04-25", 1440 - 283),
    ],
)
def test_archived_rows_come_back_verbatim(
    archived: ExchangeClient, real_archive: Path, market: str, symbol: str, day: str, rows: int
) -> None:
    file = real_archive / path(market, symbol, day).lstrip("/")
    stored = [line for line in lines(file.read_bytes()) if line[0].isdigit()]
    served = [as_csv(row) for row in whole_day(archived, market, symbol, day)]
    assert len(served) == rows
    assert served == stored
    assert archived.get(path(market, symbol, day)).content == file.read_bytes()


@pytest.mark.real
def test_days_the_tree_lacks_are_synthetic(archived: ExchangeClient, shared: ExchangeClient) -> None:
    window = {"startTime": ms("2021-05-01"), "limit": 10}
    assert archived.klines(**window) == shared.klines(**window)


@pytest.mark.real
def test_a_page_crosses_from_archived_to_synthetic_days(archived: ExchangeClient) -> None:
    rows = archived.klines("spot", "BTCUSDT", startTime=ms("2021-04-30T23:58"), limit=4)
    assert opens(rows) == [ms("2021-04-30T23:58") + minute * MINUTE for minute in range(4)]


def test_a_pair_known_from_the_tree_alone_is_listed(start: Start, tmp_path: Path) -> None:
    row = "1714521600000,12.50000000,12.60000000,12.40000000,12.55000000,3.20000000,1714521659999,40.12,7,1.1,13.8,0"
    small_zip(tmp_path, "spot", "ODDUSDT", "2024-05-01", row + "\n")
    client = start(archive_dir=tmp_path)
    assert as_csv(client.klines("spot", "ODDUSDT", startTime=0, limit=1)[0]) == row
    (symbol,) = client.get("/api/v3/exchangeInfo", symbol="ODDUSDT").json()["symbols"]
    assert (symbol["baseAsset"], symbol["quoteAsset"]) == ("ODD", "USDT")
    assert len(client.klines("spot", "ODDUSDT", startTime=ms("2024-05-02"), limit=3)) == 3


def test_microseconds_in_the_tree_are_milliseconds_over_rest(start: Start, tmp_path: Path) -> None:
    opened = ms("2024-05-01")
    text = f"{opened}000,1.0,1.0,1.0,1.0,3,{opened + MINUTE - 1}999,3.0,7,1,1.0,0\n"
    small_zip(tmp_path, "spot", "ODDUSDT", "2024-05", text)
    (row,) = start(archive_dir=tmp_path).klines("spot", "ODDUSDT", startTime=0, endTime=ms("2024-05-01T23:59"))
    assert (row[0], row[6]) == (opened, opened + MINUTE - 1)


def test_a_folder_without_data_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder named data"):
        start(archive_dir=tmp_path)
