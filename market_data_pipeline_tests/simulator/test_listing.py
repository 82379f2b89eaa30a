"""The listing of the archive's bucket: pages, folders, and its agreement with the files."""

import time
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from market_data_pipeline_tests.simulator.archives import days_listed, listing, path, small_zip
from market_data_pipeline_tests.simulator.client import ExchangeClient
from market_data_pipeline_tests.simulator.conftest import Start

SPOT = "data/spot/daily/klines/"


def test_folders_lead_down_to_the_files(shared: ExchangeClient) -> None:
    assert listing(shared, "data/").folders == ["data/futures/", "data/spot/"]
    assert listing(shared, "data/futures/").folders == ["data/futures/um/"]
    assert listing(shared, "data/spot/").folders == ["data/spot/daily/", "data/spot/monthly/"]
    assert listing(shared, f"{SPOT}BTCUSDT/").folders == [f"{SPOT}BTCUSDT/1m/"]
    files = listing(shared, f"{SPOT}BTCUSDT/1m/")
    assert files.folders == []
    assert files.keys[:2] == [f"{SPOT}BTCUSDT/1m/BTCUSDT-1m-2017-08-17.zip{end}" for end in ("", ".CHECKSUM")]


def test_the_folders_of_a_market_are_its_pairs_with_files(shared: ExchangeClient) -> None:
    symbols = [folder.removeprefix(SPOT).rstrip("/") for folder in listing(shared, SPOT).folders]
    listed = {pair.symbol for pair in shared.exchange.pairs if pair.market == "spot"} - {"FRESHUSDT"}
    assert set(symbols) == listed
    assert symbols == sorted(symbols)


def test_a_prefix_need_not_end_at_a_folder(shared: ExchangeClient) -> None:
    assert listing(shared, f"{SPOT}BT").folders == [f"{SPOT}BTCUSDC/", f"{SPOT}BTCUSDT/"]
    day = listing(shared, f"{SPOT}BTCUSDT/1m/BTCUSDT-1m-2024-05-1")
    assert [key[-14:-4] for key in day.keys if key.endswith(".zip")] == [
        f"2024-05-{number}" for number in range(10, 15)
    ]
    assert listing(shared, "data/options/").keys == []


def test_a_page_has_a_thousand_names_and_a_marker_to_the_next(shared: ExchangeClient) -> None:
    first = listing(shared, f"{SPOT}BTCUSDT/1m/")
    assert (len(first.keys), first.truncated, first.next_marker) == (1000, True, first.keys[-1])
    second = listing(shared, f"{SPOT}BTCUSDT/1m/", marker=first.next_marker)
    assert second.keys[0] > first.keys[-1]
    days = days_listed(shared, "spot", "BTCUSDT")
    assert (days[0], days[-1], len(days)) == ("2017-08-17", "2024-05-14", 2463)


def test_small_pages_of_folders_lose_none(shared: ExchangeClient) -> None:
    whole, found, marker = listing(shared, SPOT).folders, [], ""
    while True:
        page = listing(shared, SPOT, marker=marker, max_keys="7")
        found += page.folders
        if not page.truncated:
            break
        assert (len(page.folders), page.next_marker) == (7, page.folders[-1])
        marker = page.next_marker
    assert found == whole


def test_without_a_delimiter_all_keys_are_listed_and_the_last_is_the_marker(shared: ExchangeClient) -> None:
    page = listing(shared, f"{SPOT}B", delimiter="")
    assert (page.folders, len(page.keys), page.truncated, page.next_marker) == ([], 1000, True, "")
    following = listing(shared, f"{SPOT}B", delimiter="", marker=page.keys[-1])
    assert following.keys[0] > page.keys[-1]


def test_a_marker_skips_to_a_day(shared: ExchangeClient) -> None:
    folder = f"{SPOT}BTCUSDT/1m/"
    page = listing(shared, folder, marker=f"{folder}BTCUSDT-1m-2024-05-12")
    assert [key[-14:-4] for key in page.keys if key.endswith(".zip")] == ["2024-05-12", "2024-05-13", "2024-05-14"]


def test_no_keys_are_no_page_and_a_wrong_number_is_refused(shared: ExchangeClient) -> None:
    assert listing(shared, SPOT, max_keys="0").folders == []
    refused = shared.get("/data.binance.vision", prefix=SPOT, **{"max-keys": "many"})
    assert (refused.status_code, "<Code>InvalidArgument</Code>" in refused.text) == (400, True)


def test_what_is_listed_can_be_downloaded_as_it_was_described(shared: ExchangeClient) -> None:
    page = listing(shared, f"{SPOT}LTCUSDT/1m/LTCUSDT-1m-2024-05-13")
    assert len(page.keys) == 2
    for key in page.keys:
        assert shared.get(f"/{key}").status_code == 200
    packed, checksum = page.objects
    assert packed.modified == checksum.modified == "2024-05-14T04:00:00.000Z"
    assert packed.size is None
    assert checksum.size == len(shared.get(f"/{checksum.key}").content)


def test_months_are_listed_when_they_are_over(shared: ExchangeClient) -> None:
    days = days_listed(shared, "spot", "BTCUSDT", span="monthly")
    assert (days[0], days[-1]) == ("2017-08", "2024-04")


def test_a_pair_that_ended_has_no_later_files(start: Start) -> None:
    client = start(now=datetime(2024, 8, 1, tzinfo=UTC))
    assert days_listed(client, "spot", "WAVESUSDT")[-1] == "2024-06-17"
    assert days_listed(client, "futures", "WAVESUSDT")[-1] == "2024-07-30"


def test_a_day_is_listed_when_it_is_published(start: Start) -> None:
    client = start(now=datetime(2024, 5, 15, 3, 59, 59, tzinfo=UTC))
    assert days_listed(client, "spot", "ETHUSDT")[-1] == "2024-05-13"
    client.exchange.clock.advance(1)
    assert days_listed(client, "spot", "ETHUSDT")[-1] == "2024-05-14"


def test_files_of_a_folder_are_listed_with_their_size(start: Start, tmp_path: Path) -> None:
    row = "1714521600000,12.5,12.6,12.4,12.5,3.2,1714521659999,40.1,7,1.1,13.8,0\n"
    small_zip(tmp_path, "spot", "ODDUSDT", "2024-05-01", row)
    client = start(archive_dir=tmp_path)
    first = listing(client, f"{SPOT}ODDUSDT/1m/").objects[0]
    assert first.size == len(client.get(path("spot", "ODDUSDT", "2024-05-01")).content)


def test_years_of_days_are_listed_at_once(start: Start) -> None:
    client = start()
    began = time.monotonic()
    assert len(days_listed(client, "futures", "BTCUSDT")) == 1711
    assert listing(client, SPOT).folders
    assert time.monotonic() - began < 5, "files were packed"


def test_a_listing_is_counted_apart_from_the_files(fresh: ExchangeClient) -> None:
    listing(fresh, SPOT)
    stats = fresh.stats()
    assert (stats["listing"]["requests"], stats["listing"]["endpoints"]) == (1, {"list": 1})
    assert stats["archive"]["requests"] == 0


@pytest.mark.parametrize("prefix", ["<&>", "data/%", "'\""])
def test_a_listing_is_xml_whatever_was_asked(shared: ExchangeClient, prefix: str) -> None:
    answer = shared.get("/data.binance.vision", prefix=prefix, delimiter="/")
    assert ElementTree.fromstring(answer.content).findtext("{*}Prefix") == prefix
