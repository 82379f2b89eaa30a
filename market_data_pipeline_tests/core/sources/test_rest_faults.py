"""Which answers of the REST API are asked for again, which end the load, and how long a fault may last."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import (
    BadAnswer,
    Banned,
    PairNotListed,
    PairNotServed,
    SourceError,
    SourceUnavailable,
)
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.archive.market import ArchiveMarket
from market_data_pipeline.core.sources.rest.client import RestClient
from market_data_pipeline.core.sources.rest.klines import RestSource
from market_data_pipeline.core.sources.rest.market import RestMarket
from market_data_pipeline_tests.core.fakes import klines_of
from market_data_pipeline_tests.core.sources.raw_exchange import NOW_MS, RawExchange, http, raw_exchange
from market_data_pipeline_tests.support import budget_in, minutes, span

HOUR = span("2024-05-10", "2024-05-10T01:00")
FIREWALL = "<html><head><title>403 Forbidden</title></head><body>Request blocked.</body></html>"


@pytest.fixture
def exchange() -> Iterator[RawExchange]:
    with raw_exchange() as running:
        yield running


def error(code: int, text: str = "Please try again.") -> str:
    return f'{{"code":{code},"msg":"{text}"}}'


def opened(exchange: RawExchange, root: Path, **options: float) -> RestSource:
    return RestSource(RestClient(Market.SPOT, budget_of=budget_in(root), base_url=exchange.url, **options), "BTCUSDT")


SOON = f"{NOW_MS + 300}"
PAST = formatdate(9, usegmt=True)
PASSING = {
    "an unknown error": http(error(-1000), 400),
    "an internal error": http(error(-1001), 400),
    "a busy server": http(error(-1004), 400),
    "an unexpected response": http(error(-1006), 400),
    "a timeout": http(error(-1007), 408),
    "a timeout without text": http("", 408),
    "an overloaded server": http(error(-1008), 429, "Retry-After: 0"),
    "an overloaded server as 4xx": http(error(-1008), 400),
    "400 without a code": http("<html>Bad Request</html>", 400),
    "too early": http("", 425),
    "an error with status 200": http(error(-1001), 200),
    "500": http("", 500),
    "502 with a page": http("<html>", 502),
    "503 with an error": http(error(-1016), 503),
    "a redirect": http("", 302, "Location: /elsewhere"),
    "no content": http("", 204),
    "429, no time": http(error(-1003), 429, "Retry-After: 0"),
    "429, a part of a second": http(error(-1003), 429, "Retry-After: 0.2"),
    "418, a date": http(error(-1003), 418, f"Date: {PAST}", f"Retry-After: {PAST}"),
    "418, a date in the past": http(error(-1003), 418, f"Retry-After: {PAST}"),
    "418, until in the text": http(error(-1003, f"Way too much; IP banned until {SOON}."), 418),
    "400, until in the text": http(error(-1003, f"Way too much; IP banned until {SOON}."), 400),
    "403, no time": http(FIREWALL, 403, "Retry-After: 0"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_passing_fault_is_asked_again_whatever_its_status(
    exchange: RawExchange, tmp_path: Path, fault: bytes
) -> None:
    with closing(opened(exchange, tmp_path)) as source:
        source.now_ms()
        exchange.replies = {"klines": [fault, None]}
        assert source.klines(HOUR).equals(klines_of(HOUR))
    assert exchange.received["klines"] == 2


SENSELESS = [
    "soon",
    "-5",
    "nan",
    "inf",
    "1e3",
    "99999999999",
    "4,5",
    "0x10",
    "",
    "Thu, 99 Foo 9999 99:99:99 GMT",
    "\xb2",
]


@pytest.mark.parametrize("after", SENSELESS)
def test_a_retry_after_that_makes_no_sense_is_ignored(exchange: RawExchange, tmp_path: Path, after: str) -> None:
    with closing(opened(exchange, tmp_path, patience_s=4)) as source:
        source.now_ms()
        exchange.replies = {"klines": [http(error(-1003), 429, f"Retry-After: {after}")]}
        with pytest.raises(Banned, match="HTTP 429, not told how long"):
            source.newest(HOUR)


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (http(error(-1121, "Invalid symbol."), 400), PairNotListed, "lists no spot pair"),
        (http(error(-1122, "Invalid symbol status."), 400), PairNotServed, "Invalid symbol status"),
        (http(error(-1100, "Illegal characters."), 400), SourceError, "Illegal characters. .-1100"),
        (http(error(-1130, "Data sent is not valid."), 400), SourceError, "-1130"),
        (http(error(-2015, "Invalid API-key."), 401), SourceError, "HTTP 401.*Invalid API-key"),
        (http("<html>Not Found</html>", 404), SourceError, "HTTP 404"),
    ],
)
def test_what_no_retry_can_help_ends_at_once(
    exchange: RawExchange, tmp_path: Path, fault: bytes, kind: type[SourceError], text: str
) -> None:
    with closing(opened(exchange, tmp_path)) as source:
        source.now_ms()
        exchange.replies = {"klines": [fault]}
        with pytest.raises(kind, match=text) as caught:
            source.newest(HOUR)
    assert type(caught.value) is kind
    assert exchange.received["klines"] == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (http("", 500), SourceUnavailable),
        (http(error(-1001), 400), SourceUnavailable),
        (http(FIREWALL, 403), Banned),
        (http("", 418), Banned),
        (http(error(-1003), 429), Banned),
        (http("not klines"), BadAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", *[b"x", 0.5] * 8], SourceUnavailable),
    ],
)
def test_a_lasting_fault_ends_in_one_line_when_patience_does(
    exchange: RawExchange, tmp_path: Path, fault: bytes, kind: type[SourceError]
) -> None:
    with closing(opened(exchange, tmp_path, patience_s=1.5)) as source:
        source.now_ms()
        exchange.replies = {"klines": [fault]}
        began_s = time.monotonic()
        with pytest.raises(kind) as caught:
            source.newest(HOUR)
        assert time.monotonic() - began_s < 10
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entries", ['[{"symbol":"BTCUSDT"},null]', '[{"symbol":"A/B","status":"TRADING"}]'])
def test_a_list_of_which_no_pair_can_be_read_is_an_error(exchange: RawExchange, tmp_path: Path, entries: str) -> None:
    exchange.replies["exchangeInfo"] = [http(f'{{"symbols":{entries}}}')]
    market = RestMarket(opened(exchange, tmp_path, patience_s=0.1).client)
    with closing(market), pytest.raises(BadAnswer, match="a list of pairs of which none can be read"):
        market.listed()


def test_an_archive_of_which_no_folder_can_be_a_pair_is_an_error(exchange: RawExchange) -> None:
    folder = "<CommonPrefixes><Prefix>data/spot/daily/klines/a b/</Prefix></CommonPrefixes>"
    exchange.replies["data.binance.vision"] = [http(f"<ListBucketResult>{folder}</ListBucketResult>")]
    market = ArchiveMarket(Market.SPOT, base_url=exchange.url, connections=1)
    with closing(market), pytest.raises(SourceUnavailable, match="no folder is of a pair, such as 'a b'"):
        market.symbols()


def test_waits_that_are_announced_again_and_again_end(exchange: RawExchange, tmp_path: Path) -> None:
    with closing(opened(exchange, tmp_path)) as source:
        source.now_ms()
        exchange.replies = {"klines": [http("", 429, "Retry-After: 0.1"), http("", 418, "Retry-After: 151")]}
        with pytest.raises(Banned, match="15[01] s more"):
            source.newest(HOUR)
        with pytest.raises(Banned, match="s more"):
            source.newest(HOUR)
    assert exchange.received["klines"] == 2


def test_a_fault_of_one_page_does_not_end_the_others(
    exchange: RawExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    other = span("2024-05-11", "2024-05-11T01:00")
    with closing(opened(exchange, tmp_path, patience_s=2)) as source:
        source.now_ms()
        failed: list[SourceError] = []
        exchange.replies = {f"startTime={HOUR.start_ms}": [http("", 500)]}

        def request() -> None:
            try:
                source.newest(HOUR)
            except SourceError as fault:
                failed.append(fault)

        failing = threading.Thread(target=request)
        failing.start()
        while "HTTP 500" not in caplog.text:  # the fault is noted
            time.sleep(0.01)
        assert source.newest(other).klines.num_rows == len(minutes(other))
        failing.join(20)
    (fault,) = failed
    assert "other requests were answered" in str(fault)
    assert not isinstance(fault, SourceUnavailable)
