"""Any pair that the exchange has can be named, in every spelling, and no pair is taken for another."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.reader import open_dataset
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, chunk_files, dataset_folder, rows_by_day

LIFE = "币安人生/USDT"
QUARTERLY = "BTC/USDT_240628"
SCENARIO: dict[str, Any] = {
    "now": "2024-07-02T12:00Z",
    "spot": {
        "币安人生USDT": {"first": "2024-05-01T10:00Z", "base": "币安人生"},
        "ADAEUR": {"first": "2024-05-01T00:00Z", "base": "ADA", "quote": "EUR"},
        "ABCXYZ": {"first": "2024-05-01T00:00Z", "base": "ABC", "quote": "XYZ"},
    },
    "futures": {
        "BTCUSDT_240628": {
            "first": "2024-06-20T00:00Z",
            "last": "2024-06-28T07:59Z",
            "base": "BTC",
            "status": "DELIVERED",
            "contractType": "CURRENT_QUARTER",
            "deliveryDate": "2024-06-28T08:00Z",
        }
    },
}
ONE_DAY = ("--start", "2024-05-02", "--end", "2024-05-03")
MadeOf = Callable[..., MarketData]


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with scenario_exchange(SCENARIO) as exchange:
        yield exchange


@pytest.fixture
def run(market_data: MadeOf, running: RunningExchange) -> MarketData:
    return market_data(running, MARKET_TYPE="spot")


def good(run: MarketData, *arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def line_of(run: MarketData, *arguments: str) -> str:
    """The one line with which a command refuses."""
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    return line


def stored(run: MarketData) -> list[tuple[str, str]]:
    return [(of["market"], of["pair"]) for of in json.loads(good(run, "status", "--json"))]


def infos(running: RunningExchange, market: str) -> int:
    """How often the exchange was asked for base and quote."""
    return int(running.exchange.stats()[market]["endpoints"].get("exchangeInfo", 0))


def test_a_pair_that_is_not_ascii_lives_among_others_in_one_store(run: MarketData) -> None:
    for pair in ("BTC/USDT", LIFE, "ETH/USDT"):
        good(run, "--pair", pair, "backfill", "--start", "2024-05-01", "--end", "2024-05-02")
    assert stored(run) == [("spot", "BTC/USDT"), ("spot", "ETH/USDT"), ("spot", LIFE)]
    assert json.loads(good(run, "--pair", LIFE, "status", "--json"))[0]["rows"] == 14 * 60
    assert f"spot {LIFE}  good" in good(run, "verify")
    assert "币安人生USDT_1m_all.parquet  built" in good(run, "--pair", LIFE, "combine")
    assert f"spot {LIFE}" in run("health").stdout  # its clock is years off, so it is not good
    assert open_dataset(LIFE, market="spot", root=run.root).to_arrow().num_rows == 14 * 60
    good(run, "--pair", LIFE, "live", "--mark")
    chunk_files(run.root)["2024-05-01"].unlink()
    assert run("verify", "--repair").exit_code == 0


@pytest.mark.parametrize(
    ("market", "pair", "spellings"),
    [
        ("spot", "BTC/USDT", ["BTC/USDT", "btc/usdt", "BTCUSDT", "btcusdt"]),
        ("spot", LIFE, [LIFE, "币安人生/usdt", "币安人生USDT"]),
        ("futures", QUARTERLY, [QUARTERLY, "BTCUSDT_240628", "BTC/USDT:USDT-240628", "btc/usdt-240628"]),
        ("futures", "BTC/USDT", ["BTC/USDT:USDT", "BTCUSDT"]),
    ],
)
def test_each_spelling_makes_and_finds_the_same_dataset(
    run: MarketData, market: str, pair: str, spellings: list[str]
) -> None:
    window = ("--start", "2024-06-21", "--end", "2024-06-22")
    for spelling in spellings:
        good(run, "--market", market, "--pair", spelling, "backfill", *window)
        assert stored(run) == [(market, pair)]
        assert open_dataset(spelling, market=market, root=run.root).to_arrow().num_rows == 1440


def test_the_exchange_is_asked_for_base_and_quote_of_a_new_dataset_alone(
    run: MarketData, running: RunningExchange
) -> None:
    for day in ("2024-06-21", "2024-06-22"):
        good(run, "--pair", LIFE, "backfill", "--start", day, "--end", "2024-06-23")
    assert infos(running, "spot") == 1


def test_a_market_without_a_pair_means_all_that_is_stored_of_it(run: MarketData) -> None:
    for market, pair in (("spot", LIFE), ("spot", "ETH/USDT"), ("futures", "BTC/USDT")):
        good(run, "--market", market, "--pair", pair, "backfill", *ONE_DAY)
    of_spot = ["ETH/USDT", LIFE]
    assert [one["pair"] for one in json.loads(good(run, "--market", "spot", "status", "--json"))] == of_spot
    assert [one["pair"] for one in json.loads(good(run, "--market", "futures", "status", "--json"))] == ["BTC/USDT"]
    assert good(run, "--market", "spot", "verify").count("  good") == 2
    good(run, "--market", "spot", "snapshot", "spot-only")
    [snapshot] = json.loads(good(run, "snapshot", "--json"))
    assert (snapshot["name"], snapshot["datasets"]) == ("spot-only", 2)
    assert "2 datasets: " in good(run, "--market", "spot", "report")


def test_a_delivery_contract_is_loaded_to_its_delivery(run: MarketData) -> None:
    of = ("--market", "futures", "--pair", "BTC/USDT:USDT-240628")
    good(run, *of, "backfill", "--start", "2024-06-20")
    rows = rows_by_day(run.root)
    assert (sum(rows.values()), rows["2024-06-28"]) == (8 * 1440 + 480, 480)
    assert f"futures {QUARTERLY}  good" in good(run, *of, "verify")
    good(run, *of, "combine")
    folder = dataset_folder(run.root, "futures", "BTCUSDT_240628")
    assert (folder / "combined" / "BTCUSDT_240628_1m_all.parquet").is_file()
    assert stored(run) == [("futures", QUARTERLY)]


def test_a_contract_is_loaded_though_the_entry_of_another_cannot_be_read(
    run: MarketData, running: RunningExchange
) -> None:
    of_list = "info_entry_empty"
    running.exchange.hooks.append(lambda request: of_list if request.endpoint == "exchangeInfo" else None)
    of = ("--market", "futures", "--pair", "BTCUSDT_240628")
    good(run, *of, "backfill", "--start", "2024-06-28", "--source", "rest")
    assert rows_by_day(run.root) == {"2024-06-28": 480}


def test_base_and_quote_are_those_of_the_exchange(run: MarketData) -> None:
    good(run, "--pair", "ADAEUR", "backfill", *ONE_DAY)
    good(run, "--pair", "ABCXYZ", "backfill", *ONE_DAY)
    assert stored(run) == [("spot", "ABC/XYZ"), ("spot", "ADA/EUR")]


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        ("BTCU/SDT", "error: there is no BTCU/SDT: BTCUSDT is BTC/USDT; write BTC/USDT or BTCUSDT"),
        ("AD/AEUR", "error: there is no AD/AEUR: ADAEUR is ADA/EUR; write ADA/EUR or ADAEUR"),
        ("ABCX/YZ", "error: there is no ABCX/YZ: ABCXYZ is ABC/XYZ; write ABC/XYZ or ABCXYZ"),
    ],
)
def test_a_slash_in_the_wrong_place_opens_no_other_pair(run: MarketData, pair: str, line: str) -> None:
    assert line_of(run, "--pair", pair, "backfill", *ONE_DAY) == line
    assert not run.root.exists()
    good(run, "--pair", pair.replace("/", ""), "backfill", *ONE_DAY)
    for command in ("backfill", "status", "verify", "combine"):
        assert line_of(run, "--pair", pair, command) == line
    assert line_of(run, "--pair", pair, "live", "--mark") == line
    with pytest.raises(UsageError, match=line.removeprefix("error: ")):
        open_dataset(pair, market="spot", root=run.root)


def test_a_contract_is_no_pair_of_spot(run: MarketData) -> None:
    line = line_of(run, "--market", "spot", "--pair", "BTC/USDT:USDT", "backfill", *ONE_DAY)
    assert line == "error: 'BTC/USDT:USDT' is a futures contract; write BTC/USDT, or choose the market futures"


def test_a_pair_is_loaded_where_the_exchange_cannot_say_what_it_is_made_of(market_data: MadeOf) -> None:
    silent = {"path": "exchangeInfo", "status": 400, "body": '{"code": -1102, "msg": "not now"}'}
    with scenario_exchange({**SCENARIO, "fail": [silent]}) as running:
        run = market_data(running, MARKET_TYPE="spot")
        assert line_of(run, "--pair", "BTCU/SDT", "backfill", *ONE_DAY).startswith("error: there is no BTCU/SDT")
        assert "may be AD/AEUR or ADA/EUR" in line_of(run, "--pair", "ADAEUR", "backfill", *ONE_DAY)
        assert "no known quote asset" in line_of(run, "--pair", "ABCXYZ", "backfill", *ONE_DAY)
        for pair in ("BTCUSDT", "ADA/EUR", "ABC/XYZ", LIFE):
            good(run, "--pair", pair, "backfill", *ONE_DAY)
        assert stored(run) == [("spot", pair) for pair in ("ABC/XYZ", "ADA/EUR", "BTC/USDT", LIFE)]


def test_a_dataset_in_the_folder_of_another_is_refused(run: MarketData) -> None:
    good(run, "--pair", "BTC/USDT", "backfill", *ONE_DAY)
    folder = dataset_folder(run.root, "spot", "BTCUSDT")
    folder.parent.rename(folder.parent.with_name("ETHUSDT"))
    assert "says it is spot BTC/USDT; move its folder" in run("--pair", "ETH/USDT", "status").stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_live_mode_follows_a_pair_that_is_not_ascii(market_data: MadeOf) -> None:
    with scenario_exchange({**SCENARIO, "now": "2024-07-02T12:00:30Z"}, speed=60, weights=False) as running:
        run = market_data(running, MARKET_TYPE="spot")
        done = run.run("--pair", "币安人生USDT", "live", "--minutes", "3")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert stored(run) == [("spot", LIFE)]
        assert sum(rows_by_day(run.root).values()) > 12 * 60
