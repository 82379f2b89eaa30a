"""Hostile answers and files: each is what its name says, ends with its client, and leaves the exchange as it was."""

import gzip
import hashlib
import io
import json
import socket
import time
import zipfile
import zlib

import pytest

from market_data_pipeline.simulator.hostile.committing import HOSTILE_ANSWERS, HOSTILE_FILES
from market_data_pipeline.simulator.hostile.texts import TEXTS
from market_data_pipeline.simulator.hostile.zips import ZIPS
from market_data_pipeline_tests.simulator.archives import path
from market_data_pipeline_tests.simulator.client import ExchangeClient, ms
from market_data_pipeline_tests.simulator.conftest import Start

PAGE = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5"
ZIP = path("spot", "LTCUSDT", "2024-05-13")
LONG_BYTES = 3 << 20
ENDLESS = (
    "endless_body",
    "endless_chunked",
    "endless_long",
    "endless_header",
    "endless_headers",
    "endless_continue",
    "endless_trailer",
    "endless_extension",
    "gzip_bomb",
    "deflate_bomb",
    "gzip_followed",
)
SLOW = ("slow_body", "slow_chunks", "slow_head")
SILENT = ("silent_at_once", "silent_in_head", "silent_after_head", "silent_in_chunk")


@pytest.fixture(scope="module")
def hostile(start: Start) -> ExchangeClient:
    return start(weights=False)


def received(client: ExchangeClient, target: str, *, most: int = 1 << 24, patience_s: float = 5) -> tuple[bytes, bool]:
    """What comes over a raw connection, up to so many bytes; and whether the exchange closed the connection."""
    host, port = client.sim.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(patience_s)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        content = bytearray()
        try:
            while len(content) < most:
                piece = connection.recv(1 << 16)
                if not piece:
                    return bytes(content), True
                content += piece
        except TimeoutError:
            pass
        return bytes(content), False


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_goes_on_until_the_client_hangs_up(hostile: ExchangeClient, name: str) -> None:
    hostile.exchange.faults = {name: 1}
    content, ended = received(hostile, PAGE, most=LONG_BYTES)
    assert (len(content) >= LONG_BYTES, ended) == (True, False)
    hostile.exchange.faults = {}
    assert hostile.get_klines(limit=5).status_code == 200


def test_a_bomb_unpacks_to_a_thousand_times_its_size(hostile: ExchangeClient) -> None:
    hostile.exchange.faults = {"gzip_bomb": 1}
    content, _ = received(hostile, PAGE, most=1 << 18)
    packed, unpacking = content.partition(b"\r\n\r\n")[2], zlib.decompressobj(31)
    unpacked = 0
    while packed and unpacked < 10 << 20:
        unpacked += len(unpacking.decompress(packed, 1 << 20))
        packed = unpacking.unconsumed_tail
    assert unpacked >= 10 << 20


@pytest.mark.parametrize("name", (*SLOW, *SILENT))
def test_what_is_slow_or_silent_keeps_the_connection_open(hostile: ExchangeClient, name: str) -> None:
    hostile.exchange.faults = {name: 1}
    content, ended = received(hostile, PAGE, patience_s=0.3)
    assert not ended
    assert content.endswith((b"}", b"]")) == (name == "silent_in_chunk")


def test_all_other_answers_come_at_once_and_end(hostile: ExchangeClient) -> None:
    others = HOSTILE_ANSWERS.keys() - {*ENDLESS, *SLOW, *SILENT}
    assert len(others) > 250
    for name in sorted(others):
        hostile.exchange.faults = {name: 1}
        for target in (PAGE, "/api/v3/time", "/api/v3/exchangeInfo?symbol=BTCUSDT", "/fapi/v1/exchangeInfo"):
            began = time.monotonic()
            content, ended = received(hostile, target, most=1 << 26)
            assert (ended, bool(content)) == (True, True), f"{name} {target}"
            assert time.monotonic() - began < 5, f"{name} {target}"


@pytest.mark.parametrize(
    ("name", "target", "text"),
    [
        ("time_text", "/api/v3/time", '{"serverTime":"1715774430000"}'),
        ("json_nan", "/api/v3/time", '{"serverTime":NaN}'),
        ("json_keys_last", "/api/v3/time", '{"serverTime":1715774430000,"serverTime":1,"symbols":[{}]}'),
        ("1007_408", "/api/v3/time", '{"code":-1007,"msg":"Timeout waiting for response from backend server.'),
        ("429_until", "/api/v3/time", "IP banned until 1715774431000."),
        ("info_status_null", "/api/v3/exchangeInfo?symbol=BTCUSDT", '"status":null'),
        ("row_trades_bool", PAGE, ",true,"),
        ("row_price_hex", PAGE, ',"0x10",'),
        ("page_200", PAGE, "Request blocked."),
    ],
)
def test_what_an_answer_says(hostile: ExchangeClient, name: str, target: str, text: str) -> None:
    hostile.exchange.faults = {name: 1}
    assert text in hostile.http.get(target).text


def test_a_fault_of_values_is_that_of_its_endpoint_alone(hostile: ExchangeClient) -> None:
    hostile.exchange.faults = {"time_text": 1, "row_price_hex": 1, "zip_bomb": 1}
    assert hostile.get("/api/v3/exchangeInfo", symbol="BTCUSDT").json()["symbols"][0]["status"] == "TRADING"
    assert hostile.get("/fapi/v1/ping").json() == {}


@pytest.mark.parametrize(("name", "after"), [("418_seconds", ["1"]), ("429_twice", ["1", "later"]), ("403_none", [])])
def test_refusals_say_how_long_they_are(hostile: ExchangeClient, name: str, after: list[str]) -> None:
    hostile.exchange.faults = {name: 1}
    refused = hostile.get("/api/v3/time")
    assert (refused.status_code, refused.headers.get_list("retry-after")) == (int(name[:3]), after)


def test_compressed_and_chunked_answers_can_be_right(hostile: ExchangeClient) -> None:
    hostile.exchange.faults = {}
    rows = hostile.klines(startTime=ms("2024-05-13"), limit=500)
    for name in ("gzip", "chunks"):
        hostile.exchange.faults = {name: 1}
        assert hostile.klines(startTime=ms("2024-05-13"), limit=500) == rows


def test_every_file_is_the_same_each_time_and_its_checksum_knows_of_it(hostile: ExchangeClient) -> None:
    hostile.exchange.faults = {}
    true = hostile.get(ZIP).content
    for name in HOSTILE_FILES:
        hostile.exchange.faults = {name: 1}
        packed, checksum = hostile.get(ZIP), hostile.get(f"{ZIP}.CHECKSUM")
        assert packed.status_code == 200, name
        assert packed.content == hostile.get(ZIP).content, name
        assert (packed.content == true) == name.startswith("checksum_"), name
        if not name.startswith("checksum_"):
            assert checksum.text.split()[0] == hashlib.sha256(packed.content).hexdigest(), name
        else:
            assert checksum.content != f"{hashlib.sha256(true).hexdigest()}  {ZIP.rpartition('/')[2]}\n".encode(), name


def test_a_zip_that_only_says_other_things_has_the_true_rows(hostile: ExchangeClient) -> None:
    hostile.exchange.faults = {}
    with zipfile.ZipFile(io.BytesIO(hostile.get(ZIP).content)) as file:
        text = file.read(file.namelist()[0])
    for name in ("zip_stored", "zip_bzip2", "zip_lzma", "zip_before", "zip_comment", "zip_name_other_pair"):
        hostile.exchange.faults = {name: 1}
        with zipfile.ZipFile(io.BytesIO(hostile.get(ZIP).content)) as file:
            assert file.read(file.namelist()[0]) == text, name
    hostile.exchange.faults = {"file_gzip": 1}
    assert gzip.decompress(hostile.get(ZIP).content) == text


@pytest.mark.parametrize(("name", "megabytes"), [("zip_bomb", 1000), ("zip_bomb_hidden", 0), ("zip_many", 0)])
def test_a_zip_can_be_a_bomb_in_few_bytes(hostile: ExchangeClient, name: str, megabytes: int) -> None:
    hostile.exchange.faults = {name: 1}
    packed = hostile.get(ZIP).content
    assert len(packed) < 3_000_000
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        assert file.infolist()[0].file_size >> 20 == megabytes
        assert len(file.infolist()) == (20_001 if name == "zip_many" else 1)


def test_a_file_of_another_pair_names_it(hostile: ExchangeClient) -> None:
    hostile.exchange.faults = {"file_of_other_pair": 1}
    checksum = hostile.get(f"{ZIP}.CHECKSUM").text
    assert checksum.split()[0] == hashlib.sha256(hostile.get(ZIP).content).hexdigest()
    assert "LTCUSDT" not in checksum


def test_there_are_faults_of_every_kind() -> None:
    assert (len(HOSTILE_ANSWERS) >= 250, len(ZIPS) >= 40, len(TEXTS) >= 60) == (True, True, True)
    assert json.dumps(HOSTILE_ANSWERS | HOSTILE_FILES).isascii()
