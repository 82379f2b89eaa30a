"""Faults of archive files: they stay with a file, and its checksum knows of them."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from market_data_pipeline.simulator.faults import FILE_FAULTS
from market_data_pipeline_tests.simulator.archives import as_csv, lines, path, small_zip, whole_day
from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, assert_possible, ms
from market_data_pipeline_tests.simulator.conftest import Start

DAY = "2024-05-13"
SPOT = path("spot", "LTCUSDT", DAY)
FUTURES = path("futures", "LTCUSDT", DAY)
CHANGES = ("cut_zip", "microseconds", "archive_drops_rows", "archive_differs", "archive_empty_minutes")
DRAWN = ("archive_drops_rows", "archive_differs", "archive_empty_minutes")


@pytest.fixture(scope="module")
def seeded(start: Start) -> list[ExchangeClient]:
    """Three exchanges, of which two have the same seed; each test sets the faults."""
    return [start(fault_seed=seed) for seed in (1, 1, 2)]


def download(client: ExchangeClient, file: str) -> bytes:
    """A zip, after checking that its checksum is right."""
    packed, checksum = client.get(file), client.get(file + ".CHECKSUM")
    assert (packed.status_code, checksum.status_code) == (200, 200)
    assert packed.headers["content-length"] == str(len(packed.content))
    assert checksum.text == f"{hashlib.sha256(packed.content).hexdigest()}  {file.rpartition('/')[2]}\n"
    return packed.content


def rows(packed: bytes) -> list[list[str]]:
    return [line.split(",") for line in lines(packed)]


@pytest.mark.parametrize("file", [SPOT, FUTURES])
@pytest.mark.parametrize("fault", CHANGES)
def test_a_changed_zip_has_its_checksum_and_both_repeat(
    seeded: list[ExchangeClient], shared: ExchangeClient, fault: str, file: str
) -> None:
    for each in seeded:
        each.exchange.faults = {fault: 1}
    client, again, other = seeded
    changed = download(client, file)
    assert changed != download(shared, file)
    assert download(client, file) == download(again, file) == changed
    assert (download(other, file) != changed) == (fault in DRAWN)


def test_a_wrong_checksum_is_that_of_another_zip(fresh: ExchangeClient) -> None:
    packed, right = fresh.get(SPOT).content, fresh.get(SPOT + ".CHECKSUM").text
    fresh.exchange.faults["wrong_checksum"] = 1
    wrong = [fresh.get(SPOT + ".CHECKSUM").text for _ in range(2)]
    assert fresh.get(SPOT).content == packed
    assert wrong[0] == wrong[1] != right
    assert (len(wrong[0]), wrong[0][64:]) == (len(right), right[64:])


def test_a_cut_zip_cannot_be_read(fresh: ExchangeClient) -> None:
    whole = download(fresh, SPOT)
    fresh.exchange.faults["cut_zip"] = 1
    cut = download(fresh, SPOT)
    assert cut == whole[: len(whole) // 2]
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(cut))


def test_microseconds_change_the_times_alone(fresh: ExchangeClient) -> None:
    header, *clean = rows(download(fresh, FUTURES))
    fresh.exchange.faults["microseconds"] = 1
    assert rows(download(fresh, FUTURES)) == [
        header,
        *([row[0] + "000", *row[1:6], row[6] + "999", *row[7:]] for row in clean),
    ]


def test_a_file_in_microseconds_anyway_stays_as_it_is(fresh: ExchangeClient) -> None:
    fresh.exchange.clock.advance(365 * 86_400)
    file = path("spot", "LTCUSDT", "2025-02-01")
    clean = download(fresh, file)
    fresh.exchange.faults["microseconds"] = 1
    assert download(fresh, file) == clean


def test_a_late_archive_lacks_zip_and_checksum(fresh: ExchangeClient) -> None:
    fresh.exchange.faults["late_archive"] = 1
    for file in (SPOT, SPOT + ".CHECKSUM"):
        response = fresh.get(file)
        assert response.status_code == 404
        assert "<Code>NoSuchKey</Code>" in response.text
    fresh.exchange.faults.clear()
    download(fresh, SPOT)


def test_dropped_rows_are_one_run_inside(fresh: ExchangeClient) -> None:
    clean = lines(download(fresh, SPOT))
    fresh.exchange.faults["archive_drops_rows"] = 1
    left = lines(download(fresh, SPOT))
    missing = [at for at, line in enumerate(clean) if line not in left]
    assert missing == list(range(missing[0], missing[0] + 144))
    assert 0 < missing[0] < missing[-1] < 1439
    assert [line for line in clean if line in left] == left


@pytest.mark.parametrize("symbol", ["LTCUSDT", "WAVESUSDT"])
def test_differing_rows_are_few_and_possible(fresh: ExchangeClient, symbol: str) -> None:
    fresh.exchange.faults["archive_differs"] = 1
    served = [line.split(",") for line in map(as_csv, whole_day(fresh, "spot", symbol, DAY))]
    archived = rows(download(fresh, path("spot", symbol, DAY)))
    pairs = [(row, was) for row, was in zip(archived, served, strict=True) if row != was]
    assert 1 <= len(pairs) <= 3
    for row, was in pairs:
        assert {field for field in range(12) if row[field] != was[field]} - {4} == {5, 7, 8}
        assert (row[4] == was[4]) == (was[2] == was[3])
        assert_possible([*row[:8], int(row[8]), *row[9:]], "0.0001")


@pytest.mark.parametrize("market", ["spot", "futures"])
def test_empty_minutes_are_flat_at_the_price_before(fresh: ExchangeClient, market: str) -> None:
    fresh.exchange.faults["archive_empty_minutes"] = 1
    served = [as_csv(row).split(",") for row in whole_day(fresh, market, "LTCUSDT", DAY)]
    archived = rows(download(fresh, path(market, "LTCUSDT", DAY)))[-1440:]
    empty = [at for at, (row, was) in enumerate(zip(archived, served, strict=True)) if row != was]
    assert empty == list(range(empty[0], empty[0] + 60))
    price = archived[empty[0] - 1][4]
    for row, was in ((archived[at], served[at]) for at in empty):
        assert (row[0], row[6], row[1:5]) == (was[0], was[6], [price] * 4)
        assert [float(row[field]) for field in (5, 7, 8, 9, 10)] == [0] * 5
        assert [len(row[field].partition(".")[2]) for field in (5, 7, 9)] == [
            len(was[field].partition(".")[2]) for field in (5, 7, 9)
        ]


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_half_the_files_have_a_fault_whatever_the_order(
    seeded: list[ExchangeClient], shared: ExchangeClient, fault: str
) -> None:
    files = [path("futures", "BTCUSDT", f"2024-04-{day:02}") for day in range(1, 31)]

    def answers(client: ExchangeClient, order: list[str]) -> dict[str, tuple[bytes, bytes]]:
        return {file: (client.get(file).content, client.get(file + ".CHECKSUM").content) for file in order}

    for each in seeded:
        each.exchange.faults = {fault: 0.5}
    client, again, other = seeded
    clean, first = answers(shared, files), answers(client, files)
    struck = [file for file in files if first[file] != clean[file]]
    assert 5 < len(struck) < 25
    assert answers(client, files) == first
    assert answers(again, files[::-1]) == first != answers(other, files)
    assert all((first[file][0] == clean[file][0]) == (fault == "wrong_checksum") for file in struck)
    assert all(first[file][1] != clean[file][1] for file in struck)


@pytest.fixture
def tree(shared: ExchangeClient, tmp_path: Path) -> Path:
    """A stored futures day whose zip is not compressed and whose CSV has a header and 200 rows."""
    stored = shared.klines("futures", "LTCUSDT", startTime=ms(DAY), limit=200)
    small_zip(tmp_path, "futures", "LTCUSDT", DAY, "\n".join(["open_time,a header", *map(as_csv, stored)]) + "\n")
    return tmp_path


@pytest.mark.parametrize("fault", CHANGES)
def test_stored_files_have_faults_too(start: Start, tree: Path, fault: str) -> None:
    stored = (tree / FUTURES.lstrip("/")).read_bytes()
    client = start(archive_dir=tree)
    assert download(client, FUTURES) == stored
    served = client.klines("futures", "LTCUSDT", startTime=ms(DAY), limit=200)
    client.exchange.faults[fault] = 1
    changed = download(client, FUTURES)
    assert changed != stored
    if fault != "cut_zip":
        assert zipfile.ZipFile(io.BytesIO(changed)).namelist() == zipfile.ZipFile(io.BytesIO(stored)).namelist()
        assert lines(changed)[0] == "open_time,a header"
        assert len(lines(changed)) == (181 if fault == "archive_drops_rows" else 201)
    assert client.klines("futures", "LTCUSDT", startTime=ms(DAY), limit=200) == served
    client.exchange.faults.clear()
    assert download(client, FUTURES) == stored


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_faults_bear_tiny_files(start: Start, tmp_path: Path, count: int) -> None:
    opened = ms("2024-05-01")
    texts = [
        f"{opened + at * MINUTE},1.0,1.0,1.0,1.0,3,{opened + at * MINUTE + 59999},3.0,7,1,1.0,0" for at in range(count)
    ]
    small_zip(tmp_path, "spot", "ODDUSDT", "2024-05-01", "".join(text + "\n" for text in texts))
    client = start(archive_dir=tmp_path, faults=dict.fromkeys(DRAWN, 1))
    left = rows(download(client, path("spot", "ODDUSDT", "2024-05-01")))
    assert len(left) == (2 if count == 3 else count)


def test_faults_of_a_file_add_up(fresh: ExchangeClient) -> None:
    fresh.exchange.faults = dict.fromkeys((*DRAWN, "microseconds"), 1)
    month = lines(download(fresh, path("spot", "LTCUSDT", "2024-02")))
    assert len(month) == 29 * 1440 * 9 // 10
    assert sum(line.split(",")[8] == "0" for line in month) == 60
    assert all(len(line.split(",")[0]) == 16 for line in month)


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_hook_commits_a_file_fault_once(fresh: ExchangeClient, fault: str) -> None:
    fresh.exchange.hooks.append(lambda request: fault if request.number == 2 else None)
    file = FUTURES + ".CHECKSUM"
    first, second, third = (fresh.get(file).content for _ in range(3))
    assert first == third != second
    assert fresh.stats()["archive"]["faults"] == {fault: 1}


def test_file_faults_are_counted_and_leave_rest_alone(fresh: ExchangeClient) -> None:
    fresh.exchange.faults = {"archive_drops_rows": 1, "cut_zip": 1}
    download(fresh, SPOT)
    fresh.klines(limit=1)
    stats = fresh.stats()
    assert stats["archive"]["faults"] == {"archive_drops_rows": 2, "cut_zip": 2}
    assert stats["spot"]["faults"] == {}


def test_requests_for_faulty_files_fail_as_others_do(fresh: ExchangeClient) -> None:
    fresh.exchange.faults = {"archive_differs": 1, "503": 1}
    assert [fresh.get(file).status_code for file in (SPOT, SPOT + ".CHECKSUM")] == [503, 503]
