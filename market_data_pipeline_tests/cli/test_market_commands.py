"""`pairs` lists what a market had on any day, learns it with few requests, and says what it could not have."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import duckdb
import pandas
import polars
import pyarrow.parquet
import pytest
from starlette.responses import Response

from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.markets import DEAD, DELIVERY, FIRST, PAIRS, REUSED, TODAY, Market, whole_market
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step
from market_data_pipeline_tests.stopping import interrupt
from market_data_pipeline_tests.support import PATIENCE, MarketData, everything, record, wait_until

MadeOf = Callable[..., MarketData]


@pytest.fixture(scope="module")
def market() -> Market:
    return whole_market()


@pytest.fixture
def running(market: Market) -> Iterator[RunningExchange]:
    with scenario_exchange(market.scenario) as exchange:
        yield exchange


@pytest.fixture
def run(market_data: MadeOf, running: RunningExchange) -> MarketData:
    return market_data(running)


def listed(run: MarketData, *options: str) -> list[dict[str, Any]]:
    done = run("pairs", "--json", *options)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["pairs"]


def symbols(run: MarketData, *options: str) -> set[str]:
    return {pair["symbol"] for pair in listed(run, *options)}


@pytest.mark.slow
def test_the_pairs_of_a_day_are_those_that_were_traded(market: Market, run: MarketData) -> None:
    draw = random.Random(7)
    days = [FIRST + timedelta(draw.randrange((TODAY - FIRST).days)) for _ in range(19)]
    for day in (*days, TODAY):
        assert symbols(run, "--at", day.isoformat()) == market.at(day), day
    pairs = listed(run)
    assert {pair["symbol"] for pair in pairs} == market.lives.keys()
    found = {pair["symbol"]: [(life["first_day"], life["last_day"]) for life in pair["lives"]] for pair in pairs}
    assert found == {
        symbol: [(str(first), last and str(last)) for first, last in lives] for symbol, lives in market.lives.items()
    }
    assert len(pairs) == PAIRS
    assert sum(pair["status"] == "ended" for pair in pairs) == DEAD + DELIVERY


SMALL: dict[str, Any] = {
    "now": "2024-05-15T12:00Z",
    "spot": {
        "BTCUSDT": {"first": "2017-08-17T04:00Z"},
        "ADAEUR": {"first": "2024-01-03T00:00Z", "base": "ADA", "quote": "EUR"},
        "GONEUSDT": {"first": "2023-01-03T00:00Z", "last": "2023-06-07T11:59Z", "hidden": True, "unlisted": True},
        "RESTUSDT": {"first": "2023-01-03T00:00Z", "last": "2024-05-15T09:59Z", "status": "BREAK"},
        "FRESHUSDT": {"first": "2024-05-15T08:00Z"},
        "SOONUSDT": {"first": "2024-06-01T00:00Z", "status": "PRE_TRADING"},
    },
}
SPOT = {"MARKET_TYPE": "spot"}


@pytest.fixture
def small() -> Iterator[RunningExchange]:
    with scenario_exchange(SMALL) as exchange:
        yield exchange


def lines_of(run: MarketData, *options: str) -> dict[str, list[str]]:
    """The cells of the table of `pairs` by symbol."""
    done = run("pairs", *options)
    assert done.exit_code == 0, done.output
    return {line.split()[1]: line.split() for line in done.stdout.splitlines()[1:]}


def refusal(run: MarketData, *arguments: str) -> str:
    """The one line with which a command refuses, having written nothing."""
    before = everything(run.root)
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    [line] = done.stderr.splitlines()
    assert everything(run.root) == before
    return line


def files(run: MarketData) -> list[str]:
    """The names of the files of the catalog of futures."""
    return [path.name for path in run.root.glob("catalog/binanceusdm/*.parquet")]


def since(running: RunningExchange, counted: dict[str, Any]) -> dict[str, int]:
    now = running.exchange.stats()
    return {area: now[area]["requests"] - counted[area]["requests"] for area in ("spot", "futures", "listing")}


def test_the_table_has_each_pair_with_its_status_and_days(market_data: MadeOf, small: RunningExchange) -> None:
    assert lines_of(market_data(small, **SPOT)) == {
        "ADAEUR": ["ADA/EUR", "ADAEUR", "spot", "trading", "2024-01-03", "-", "1"],
        "BTCUSDT": ["BTC/USDT", "BTCUSDT", "spot", "trading", "2017-08-17", "-", "1"],
        "ETHUSDT": ["ETH/USDT", "ETHUSDT", "spot", "trading", "2017-08-17", "-", "1"],
        "FRESHUSDT": ["FRESH/USDT", "FRESHUSDT", "spot", "trading", "2024-05-15", "-", "1"],
        "GONEUSDT": ["GONE/USDT", "GONEUSDT", "spot", "ended", "2023-01-03", "2023-06-07", "1"],
        # Its status is that of a pause as well as of an end, and its last day has no file yet.
        "RESTUSDT": ["REST/USDT", "RESTUSDT", "spot", "paused", "2023-01-03", "2024-05-15", "1"],
    }


def test_a_renamed_pair_names_its_successor_with_ratio_and_sources(market_data: MadeOf, small: RunningExchange) -> None:
    old = {"first": "2021-01-03T00:00Z", "last": "2022-01-11T09:59Z", "hidden": True, "unlisted": True}
    step(small, {**SMALL, "spot": {"BTTUSDT": old, "BTTCUSDT": {"first": "2022-01-18T08:00Z"}}})
    run = market_data(small, **SPOT)
    table = lines_of(run)
    assert table["BTTUSDT"][7:] == ["to", "BTTC/USDT", "1:1000"]
    assert table["BTTCUSDT"][7:] == ["from", "BTT/USDT", "1:1000"]
    [pair] = listed(run, "BTT/USDT")
    assert (pair["predecessor"], pair["successor"]["pair"], pair["successor"]["ratio"]) == (None, "BTTC/USDT", 1000)
    assert all(source.startswith("https://") for source in pair["successor"]["sources"])


def test_options_choose_by_quote_status_and_day(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    assert symbols(run, "--quote", "eur") == {"ADAEUR"}
    assert symbols(run, "--status", "ended") == {"GONEUSDT"}
    assert symbols(run, "--status", "paused") == {"RESTUSDT"}
    assert symbols(run, "--at", "2023-06-07", "--quote", "USDT") == {"BTCUSDT", "ETHUSDT", "GONEUSDT", "RESTUSDT"}
    assert symbols(run, "*/USDT", "!*EST/*", "!ETHUSDT") == {"BTCUSDT", "FRESHUSDT", "GONEUSDT"}
    assert symbols(run, "btc/usdt", "ADA*") == {"BTCUSDT", "ADAEUR"}
    assert symbols(run, "!*USDT") == {"ADAEUR"}
    assert symbols(run, "--at", "2023-06-08") == {"BTCUSDT", "ETHUSDT", "RESTUSDT"}


def test_pairs_before_the_command_choose_as_its_patterns_do(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    run.root.mkdir()
    (run.root / "market-data.toml").write_text('[universe.mine]\nmarket = "spot"\npairs = ["*EST/*"]\n')
    (listing := run.root / "pairs.txt").write_text("ETH/USDT\n")
    for before, expected in (
        (["--pair", "*/USDT", "--pair", "!*EST/*", "--pair", "!ETHUSDT"], {"BTCUSDT", "FRESHUSDT", "GONEUSDT"}),
        (["--pairs-file", str(listing)], {"ETHUSDT"}),
        (["--universe", "mine"], {"RESTUSDT"}),
    ):
        for words, more in (([], set()), (["ADA*"], {"ADAEUR"})):
            done = run(*before, "pairs", *words, "--json")
            assert {pair["symbol"] for pair in json.loads(done.stdout)["pairs"]} == expected | more


def test_bad_input_is_one_line_and_writes_nothing(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    assert "no such status: 'dead'" in refusal(run, "pairs", "--status", "dead")
    assert "no date: '2022-13-01'" in refusal(run, "pairs", "--at", "2022-13-01")
    assert "not a pair: 'A B'" in refusal(run, "pairs", "A B")
    assert "no such market" in refusal(run, "--market", "options", "pairs")
    listed(run)
    assert "spot had no pair on 2016-01-01; its first day is 2017-08-17" in refusal(run, "pairs", "--at", "2016-01-01")
    assert "is of 2024-05-15" in refusal(run, "pairs", "--at", "2024-05-16")
    assert "'*/XYZ' matches no pair" in refusal(run, "pairs", "*/XYZ")
    assert "spot never had klines of NONE/USDT" in refusal(run, "pairs", "NONE/USDT")
    assert "no spot pair has the quote asset 'XYZ'" in refusal(run, "pairs", "--quote", "XYZ")
    assert "spot had no pair on 2016-01-01" in refusal(run, "pairs", "--since", "2016-01-01")


def test_a_second_command_of_the_day_asks_for_the_clock_alone(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    first = listed(run)
    counted = small.exchange.stats()
    assert listed(run) == first
    assert since(small, counted) == {"spot": 1, "futures": 0, "listing": 0}


@pytest.mark.slow
def test_a_refresh_asks_only_about_pairs_that_may_have_changed(running: RunningExchange, run: MarketData) -> None:
    listed(run)
    [snapshot] = run.root.glob("catalog/binanceusdm/*.parquet")
    content, counted = snapshot.read_bytes(), running.exchange.stats()
    listed(run, "--refresh")
    asked = since(running, counted)
    # A pair that REST does not list any more is asked about once; the others are folders, the newest day, and REST.
    assert asked["listing"] <= DEAD // 3 + DELIVERY + 10
    assert asked["futures"] <= 5 + REUSED
    assert snapshot.read_bytes() == content


@pytest.mark.slow
def test_an_interrupted_refresh_keeps_what_it_has_learned(
    market: Market, running: RunningExchange, run: MarketData
) -> None:
    asked = record(running.exchange)
    with run.start("pairs") as process:
        wait_until(lambda: len(asked) > 1000)
        interrupt(process)
        _, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 130, err
    assert files(run) == ["learned.parquet"]
    before = len(asked)
    assert symbols(run, "--at", "2023-05-05") == market.at(date(2023, 5, 5))
    assert files(run) == ["2024-05-15.parquet"]
    # All pairs take some 2,300 requests; those of pairs that were asked about at the moment are sent again.
    assert before + 1000 < len(asked) < 2300 + 300


@pytest.mark.parametrize("status", [403, 503])
def test_without_the_listing_the_exchange_and_the_last_snapshot_are_used(
    market_data: MadeOf, small: RunningExchange, status: int
) -> None:
    run = market_data(small, **SPOT)
    listed(run)
    refused = {"path": "/", "area": "listing", "status": status}
    again = {**SMALL, "now": "2024-05-17T12:00Z", "spot": {**SMALL["spot"], "NEXTUSDT": {"first": "2024-05-16T00:00Z"}}}
    step(small, {**again, "fail": [refused]})
    done = run("pairs")
    assert done.exit_code == 0, done.output
    assert f"the archive cannot be listed: HTTP {status}" in done.stderr
    table = {line.split()[1]: line.split()[3:6] for line in done.stdout.splitlines()[1:]}
    assert table["NEXTUSDT"] == ["trading", "2024-05-16", "-"]
    assert table["GONEUSDT"] == ["ended", "2023-01-03", "2023-06-07"]
    assert table.keys() == {*SMALL["spot"], "NEXTUSDT", "ETHUSDT"} - {"SOONUSDT"}


def test_who_chooses_by_a_glob_is_told_that_pairs_may_be_missing(market_data: MadeOf, small: RunningExchange) -> None:
    step(small, {**SMALL, "fail": [{"path": "/", "area": "listing", "status": 403}]})
    run = market_data(small, **SPOT)
    run.root.mkdir()
    universe = '[universe.all]\nmarket = "spot"\npairs = ["*/USDT"]\nstart = "2024-05-14"\n'
    (run.root / "market-data.toml").write_text(universe, encoding="utf-8")
    said = "the archive cannot be listed: HTTP 403"
    for words in (
        ("universe", "show", "all"),
        ("universe", "apply", "all", "--plan"),
        ("--pair", "B*/USDT", "backfill", "--start", "2024-05-14", "--plan"),
        ("--pair", "B*/USDT", "backfill", "--start", "2024-05-14"),
        ("--pair", "B*/USDT", "backfill", "--start", "2024-05-14", "--runs"),
        ("universe", "apply", "all"),
    ):
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert done.stderr.count(said) == 1, words
    [warning] = json.loads(run("universe", "show", "all", "--json").stdout)["warnings"]
    assert said in warning


def test_without_the_listing_and_a_snapshot_days_are_those_of_rest(market_data: MadeOf, small: RunningExchange) -> None:
    step(small, {**SMALL, "fail": [{"path": "/", "area": "listing", "status": 403}]})
    table = lines_of(market_data(small, **SPOT))
    assert table["RESTUSDT"][3:6] == ["paused", "2023-01-03", "2024-05-15"]
    assert table["ADAEUR"][3:6] == ["trading", "2024-01-03", "-"]
    assert "GONEUSDT" not in table


def lives(run: MarketData, *options: str) -> dict[str, list[tuple[str, str | None]]]:
    """The first and last day of each life, by symbol."""
    return {
        pair["symbol"]: [(life["first_day"], life["last_day"]) for life in pair["lives"]]
        for pair in listed(run, *options)
    }


@pytest.mark.parametrize("options", [(), ("--refresh",)])
def test_lives_that_a_refused_listing_hid_are_told_once_it_answers(
    market_data: MadeOf, small: RunningExchange, options: tuple[str, ...]
) -> None:
    old = {"first": "2022-01-03T00:00Z", "last": "2022-05-03T08:59Z"}
    twice = {
        "TWICEUSDT": {"first": "2023-10-02T08:00Z", "archive_only": old},
        "RESTUSDT": {**SMALL["spot"]["RESTUSDT"], "archive_only": old},
    }
    scenario = {**SMALL, "spot": {**SMALL["spot"], **twice}}
    step(small, {**scenario, "fail": [{"path": "/", "area": "listing", "status": 403}]})
    run = market_data(small, **SPOT)
    assert lives(run)["TWICEUSDT"] == [("2023-10-02", None)]
    step(small, scenario)
    told = lives(run, *options)
    assert told["TWICEUSDT"] == [("2022-01-03", "2022-05-03"), ("2023-10-02", None)]
    assert told["RESTUSDT"] == [("2022-01-03", "2022-05-03"), ("2023-01-03", "2024-05-15")]
    assert "GONEUSDT" in told
    counted = small.exchange.stats()
    assert lives(run) == told
    assert since(small, counted)["listing"] == 0


def test_a_pair_that_resumes_after_months_has_a_new_life_before_its_file_is_there(
    market_data: MadeOf, small: RunningExchange
) -> None:
    run = market_data(small, **SPOT)
    listed(run)
    paused = {"first": "2023-01-03T00:00Z", "last": "2024-01-10T09:59Z", "status": "BREAK"}
    resumed = {"first": "2023-01-03T00:00Z", "gaps": [["2024-01-10T10:00Z", "2024-05-17T10:00Z"]]}
    expected = [("2023-01-03", "2024-01-10"), ("2024-05-17", None)]
    for now, pair, told in [
        ("2024-05-16T12:00Z", paused, [("2023-01-03", "2024-01-10")]),
        ("2024-05-17T12:00Z", resumed, expected),
        ("2024-05-18T12:00Z", resumed, expected),
        ("2024-05-20T12:00Z", resumed, expected),
    ]:
        step(small, {**SMALL, "now": now, "spot": {**SMALL["spot"], "LONGUSDT": pair}})
        assert lives(run)["LONGUSDT"] == told, now
    assert "LONGUSDT" not in symbols(run, "--at", "2024-03-03")


def test_a_pause_of_months_between_two_refreshes_is_told(market_data: MadeOf, small: RunningExchange) -> None:
    before = {"now": "2022-05-15T12:00Z", "spot": {"LONGUSDT": {"first": "2021-01-03T00:00Z"}}}
    with scenario_exchange(before) as earlier:
        assert lives(market_data(earlier, **SPOT))["LONGUSDT"] == [("2021-01-03", None)]
    paused = {"first": "2021-01-03T00:00Z", "gaps": [["2023-01-10T10:00Z", "2023-04-17T10:00Z"]]}
    step(small, {**SMALL, "spot": {**SMALL["spot"], "LONGUSDT": paused}})
    told = lives(market_data(small, **SPOT))["LONGUSDT"]
    assert told == [("2021-01-03", "2023-01-10"), ("2023-04-17", None)]


def test_a_snapshot_of_an_earlier_version_is_read_and_its_lives_are_asked_for_again(
    market_data: MadeOf, small: RunningExchange
) -> None:
    run = market_data(small, **SPOT)
    expected = lives(run)
    path = run.root / "catalog" / "binance" / "2024-05-15.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.drop_columns(["files_until"]), path)
    assert lives(run) == expected
    counted = small.exchange.stats()
    assert lives(run, "--refresh") == expected
    assert since(small, counted)["listing"] > len(expected)
    assert "files_until" in pyarrow.parquet.read_schema(path).names


@pytest.mark.parametrize("status", [451, 403])
def test_where_the_exchange_serves_nobody_the_archive_tells(
    market_data: MadeOf, small: RunningExchange, status: int
) -> None:
    step(small, {**SMALL, "fail": [{"path": "/api/", "status": status}]})
    run = market_data(small, **SPOT)
    done = run("pairs")
    assert done.exit_code == 0, done.output
    assert f"(HTTP {status})" in done.stderr
    table = {line.split()[1]: line.split()[3:6] for line in done.stdout.splitlines()[1:]}
    assert table["ADAEUR"] == ["trading", "2024-01-03", "-"]
    # No end is proven by files alone.
    assert table["GONEUSDT"] == ["paused", "2023-01-03", "2023-06-07"]
    assert "FRESHUSDT" not in table


def test_where_the_firewall_refuses_all_requests_days_of_the_archive_are_loaded_with_one_warning(
    market_data: MadeOf, small: RunningExchange
) -> None:
    run = market_data(small, **SPOT)
    step(small, {**SMALL, "fail": [{"path": "/api/", "status": 403}]})
    done = run("--pair", "ADA/EUR", "backfill", "--start", "2024-05-01", "--end", "2024-05-04")
    assert done.exit_code == 0, done.output
    assert "3 loaded" in done.stdout
    assert done.stderr.count("HTTP 403") == 1


@pytest.mark.parametrize("known", [True, False])
def test_where_the_exchange_serves_nobody_an_end_that_the_catalog_knows_is_one(
    market_data: MadeOf, small: RunningExchange, known: bool
) -> None:
    run = market_data(small, **SPOT)
    if known:
        assert "GONEUSDT" in symbols(run)
    step(small, {**SMALL, "fail": [{"path": "/api/", "status": 451}]})
    done = run("--pair", "GONEUSDT", "backfill", "--start", "2023-06-06", "--end", "2023-06-10")
    assert "does not serve this location (HTTP 451)" in done.stderr
    if known:
        assert done.exit_code == 0, done.output
        assert "2 loaded" in done.stdout
        assert "delisted 720 min" in done.stdout
    else:
        assert done.exit_code == 3
        assert "no proof of an end" in done.stderr


def test_without_a_network_the_newest_snapshot_is_used(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    known = listed(run)
    url = {"MARKET_DATA_EXCHANGE_URL": "http://127.0.0.1:9"}
    done = run("pairs", "--json", **url)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pairs"] == known
    assert "the catalog of spot is of 2024-05-15" in done.stderr
    empty = run("--market", "futures", "pairs", **url)
    assert (empty.exit_code, empty.stdout) == (3, "")


def test_a_damaged_snapshot_is_one_line_and_the_one_before_is_used(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    known = listed(run)
    folder = run.root / "catalog" / "binance"
    whole = (folder / "2024-05-15.parquet").read_bytes()
    for damage in (b"", whole[:-1], whole[: len(whole) // 2] + b"x" + whole[len(whole) // 2 + 1 :]):
        (folder / "2024-05-16.parquet").write_bytes(damage)
        done = run("pairs", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["pairs"] == known
        [line] = done.stderr.splitlines()
        assert "2024-05-16.parquet is not used" in line


def test_a_server_that_ignores_the_delimiter_is_understood(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    expected = listed(run)

    def without_delimiter(request: RequestInfo) -> None:
        if request.area == "listing" and request.params.get("delimiter") == "-":
            del request.params["delimiter"]

    small.exchange.hooks.append(without_delimiter)
    (run.root / "catalog" / "binance" / "2024-05-15.parquet").unlink()
    assert listed(run) == expected


def test_an_odd_entry_of_the_exchange_hides_no_other(market_data: MadeOf, small: RunningExchange) -> None:
    def with_an_odd_entry(request: RequestInfo) -> Response | None:
        if request.endpoint != "exchangeInfo":
            return None
        entries: list[Any] = [{"symbol": 7}, {"symbol": "A/B", "status": "TRADING"}, {"symbol": "ETHUSDT", "status": 0}]
        entries.append({"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"})
        return Response(json.dumps({"symbols": entries}), media_type="application/json")

    small.exchange.hooks.append(with_an_odd_entry)
    done = market_data(small, **SPOT)("pairs", "--status", "trading")
    assert done.exit_code == 0, done.output
    assert "lists pairs in a form that cannot be read: one without a symbol, ETHUSDT, A/B\n" in done.stderr
    # The archive has new files of it, so it is traded.
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["BTC/USDT", "ETH/USDT"]


def test_since_tells_what_changed_between_snapshots(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    listed(run)
    now = {
        **SMALL["spot"],
        "NEXTUSDT": {"first": "2024-05-16T00:00Z"},
        "ADAEUR": {"first": "2024-01-03T00:00Z", "last": "2024-05-16T10:00Z", "status": "BREAK", "base": "ADA"},
        "RESTUSDT": {"first": "2023-01-03T00:00Z", "gaps": [["2024-05-15T10:00Z", "2024-05-16T00:00Z"]]},
        "FRESHUSDT": {"first": "2024-05-15T08:00Z", "last": "2024-05-15T20:00Z", "hidden": True, "unlisted": True},
    }
    step(small, {"now": "2024-05-18T12:00Z", "spot": now})
    done = run("pairs", "--since", "2024-05-15")
    assert done.exit_code == 0, done.output
    changes = [line.split()[::2][:2] for line in done.stdout.splitlines()[1:]]
    assert changes == [["new", "NEXTUSDT"], ["ended", "FRESHUSDT"], ["paused", "ADAEUR"], ["resumed", "RESTUSDT"]]
    told = json.loads(run("pairs", "--since", "2024-05-16", "--json", "--quote", "USDT").stdout)
    assert (told["since"], told["compared_with_snapshot"]) == ("2024-05-15", True)
    assert [pair["symbol"] for pair in told["resumed"]] == ["RESTUSDT"]
    assert told["paused"] == told["lost"] == []
    assert (told["market"], told["day"], told["warnings"]) == ("spot", "2024-05-18", [])
    by_lives = run("pairs", "--since", "2023-01-10")
    assert "no catalog of 2023-01-10 or before is kept" in by_lives.stderr
    assert {line.split()[2] for line in by_lives.stdout.splitlines()[1:] if line.startswith("new")} == {
        "ADAEUR",
        "FRESHUSDT",
        "NEXTUSDT",
    }


def test_others_read_a_snapshot_without_options(market_data: MadeOf, small: RunningExchange) -> None:
    run = market_data(small, **SPOT)
    names = [pair["symbol"] for pair in listed(run)]
    path = run.root / "catalog" / "binance" / "2024-05-15.parquet"
    assert list(pandas.read_parquet(path)["symbol"]) == names
    assert polars.read_parquet(path)["symbol"].to_list() == names
    with duckdb.connect() as database:
        assert [row[0] for row in database.sql(f"SELECT symbol FROM '{path.as_posix()}'").fetchall()] == names


def test_names_that_no_pair_and_no_day_can_have_are_left_out(market_data: MadeOf, small: RunningExchange) -> None:
    folder = "data/spot/daily/klines/"
    names = ["OKUSDT", "A" * 500, "..", "a b", "&lt;b&gt;", "\x01"]

    def odd(request: RequestInfo) -> Response | None:
        if request.area != "listing":
            return None
        prefix = request.params["prefix"]
        stem = f"{folder}OKUSDT/1m/OKUSDT-1m-"
        parts = (
            [f"{prefix}{name}/" for name in names]
            if prefix == folder
            else [f"{stem}{year}-" for year in ("0000", "9999")]
        )
        keys = [f"{stem}{day}.zip" for day in ("0000-01-01", "2023-02-30", "9999-12-31", "2023-02-27", "2023-03-01")]
        body = "".join(f"<CommonPrefixes><Prefix>{part}</Prefix></CommonPrefixes>" for part in parts)
        body += "" if prefix == folder else "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
        return Response(f"<ListBucketResult>{body}</ListBucketResult>", media_type="application/xml")

    small.exchange.hooks.append(odd)
    run = market_data(small, **SPOT)
    odd_entry = {"first": "2024-01-03T00:00Z", "base": "B" * 400}
    step(small, {**SMALL, "spot": {"BTCUSDT": SMALL["spot"]["BTCUSDT"], "ODDUSDT": odd_entry}})
    assert lines_of(run)["OKUSDT"][4:6] == ["2023-02-27", "2023-03-01"]
    told = "the archive has folders whose names no pair can have: \N{REPLACEMENT CHARACTER}, .., <b>, AAA"
    assert told in run("pairs").stderr
    # Read from the snapshot, which holds nothing that it could not hold.
    assert symbols(run) == {"BTCUSDT", "ETHUSDT", "OKUSDT"}
