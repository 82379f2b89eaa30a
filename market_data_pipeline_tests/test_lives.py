"""Lives of pairs, from the command line: pauses, ends, settlements, symbols that were used again, pairs to come."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.responses import Response

from market_data_pipeline import open_panel
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange, step
from market_data_pipeline_tests.support import MarketData, RunningExchange, at, rows_by_day

Open = Callable[[dict[str, Any]], tuple[MarketData, RunningExchange]]


@pytest.fixture
def playing(market_data: Callable[..., MarketData]) -> Callable[..., Any]:
    """The command line beside an exchange that plays a scenario."""

    @contextmanager
    def play(scenario: dict[str, Any]) -> Iterator[tuple[MarketData, RunningExchange]]:
        with scenario_exchange(scenario) as running:
            yield market_data(running), running

    return play


def backfill(run: MarketData, pair: str, start: str, end: str | None = None, *more: str, market: str = "spot") -> Any:
    until = ("--end", end) if end else ()
    return run("--market", market, "--pair", pair, "backfill", "--start", start, *until, *more)


def proof(run: MarketData) -> dict[str, Any]:
    """The proof of the only dataset, which must be good."""
    verified = run("verify", "--json")
    assert verified.exit_code == 0, verified.output
    [found] = json.loads(verified.stdout)
    return dict(found)


def test_a_pause_that_was_loaded_in_the_middle_is_whole_once_trading_goes_on(playing: Any) -> None:
    paused = {"first": "2024-04-01T00:00Z", "last": "2024-05-02T02:09Z", "status": "BREAK"}
    with playing({"now": "2024-05-02T06:00Z", "spot": {"XYZUSDT": paused}}) as (run, running):
        first = backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-03")
        assert first.exit_code == 0, first.output
        assert "not traded since 2024-05-02T02:10Z" in first.output
        assert proof(run)["absent_minutes"] == {"open": 1310}

        gap = ["2024-05-02T02:10Z", "2024-05-02T10:00Z"]
        resumed = {"first": "2024-04-01T00:00Z", "gaps": [gap]}
        step(running, {"now": "2024-05-04T12:00Z", "spot": {"XYZUSDT": resumed}})
        assert backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-03").exit_code == 0
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 970}
        [absence] = proof(run)["absences"]
    assert (absence["kind"], absence["start_ms"], absence["end_ms"]) == ("suspended", at(gap[0][:-1]), at(gap[1][:-1]))
    assert absence["evidence"] == ["rest: none, asked twice", "archive: none of them", "BTC/USDT: all of them"]


def test_a_pair_that_stays_paused_is_asked_about_by_every_load_and_has_no_empty_days(playing: Any) -> None:
    paused = {"first": "2024-04-01T00:00Z", "last": "2024-05-02T02:09Z", "status": "BREAK"}
    with playing({"now": "2024-05-06T12:00Z", "spot": {"XYZUSDT": paused}}) as (run, running):
        first = backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-06")
        assert first.exit_code == 0, first.output
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 130}
        assert proof(run)["absent_minutes"] == {"suspended": 1310}

        resumed = {"first": "2024-04-01T00:00Z", "gaps": [["2024-05-02T02:10Z", "2024-05-04T10:00Z"]]}
        step(running, {"now": "2024-05-06T12:00Z", "spot": {"XYZUSDT": resumed}})
        assert backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-06").exit_code == 0
        assert list(rows_by_day(run.root).values()) == [1440, 130, 0, 840, 1440]
        assert proof(run)["absent_minutes"] == {"suspended": 3350}


def test_a_halt_of_all_pairs_is_an_outage_though_each_is_called_a_break(playing: Any) -> None:
    paused = {"first": "2017-08-17T04:00Z", "last": "2021-04-25T04:00Z", "status": "BREAK"}
    with playing({"now": "2021-04-25T06:00Z", "spot": {"BTCUSDT": paused, "ETHUSDT": paused}}) as (run, running):
        assert backfill(run, "BTC/USDT", "2021-04-25", "2021-04-26").exit_code == 0
        assert rows_by_day(run.root) == {"2021-04-25": 241}
        halted = {"first": "2017-08-17T04:00Z", "gaps": [["2021-04-25T04:01Z", "2021-04-25T08:45Z"]]}
        step(running, {"now": "2021-04-27T12:00Z", "spot": {"BTCUSDT": halted, "ETHUSDT": halted}})
        assert backfill(run, "BTC/USDT", "2021-04-25", "2021-04-26").exit_code == 0
        assert rows_by_day(run.root) == {"2021-04-25": 1156}
        assert proof(run)["absent_minutes"] == {"outage": 284}


def test_weeks_without_trading_are_one_line_and_their_days_have_chunks_without_rows(playing: Any) -> None:
    luna = {"first": "2022-04-01T00:00Z", "gaps": [["2022-05-13T00:40Z", "2022-05-31T06:00Z"]]}
    with playing({"now": "2022-06-05T00:00Z", "spot": {"LUNAUSDT": luna}}) as (run, _):
        loaded = backfill(run, "LUNA/USDT", "2022-05-10", "2022-06-03")
        assert loaded.exit_code == 0, loaded.output
        assert list(rows_by_day(run.root).values()) == [1440] * 3 + [40] + [0] * 17 + [1080, 1440, 1440]
        verified = run("verify")
    assert verified.exit_code == 0
    lines = [line for line in verified.stdout.splitlines() if line.startswith("  suspended")]
    assert lines == ["  suspended     26,240 minutes absent, 2022-05-13T00:40Z to 2022-05-31T05:59Z"]


def test_finished_days_that_nothing_explains_are_failed_days(playing: Any) -> None:
    silent = {"first": "2024-04-01T00:00Z", "gaps": [["2024-05-02T00:00Z", "2024-05-04T00:00Z"]], "archive": False}
    with playing({"now": "2024-05-06T12:00Z", "spot": {"XYZUSDT": silent}}) as (run, _):
        loaded = backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-05")
        assert loaded.exit_code == 1
        assert "2 failed" in loaded.stdout
        assert "1,440 minutes absent from 2024-05-02T00:00Z on, and nothing proves" in loaded.stdout
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-04": 1440}
        assert run("verify").exit_code == 1


SETTLED = {
    "first": "2024-04-20T00:00Z", "last": "2024-05-02T08:59Z", "status": "SETTLING",
    "deliveryDate": at("2024-05-02T09:00"), "klines_error": [400, {"code": -1122, "msg": "Invalid symbol status."}],
}  # fmt: skip
GONE = {"first": "2024-04-20T00:00Z", "last": "2024-05-02T08:59Z", "unlisted": True, "hidden": True}


@pytest.mark.parametrize("source", ["auto", "archive"])
@pytest.mark.parametrize("pair", [SETTLED, GONE], ids=["-1122", "-1121"])
def test_what_rest_does_not_serve_comes_from_the_archive(playing: Any, pair: dict[str, Any], source: str) -> None:
    with playing({"now": "2024-05-06T12:00Z", "futures": {"DEADUSDT": pair}}) as (run, _):
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-04", "--source", source, market="futures")
        assert loaded.exit_code == 0, loaded.output
        assert "INSTEAD" not in loaded.output
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 540}
        assert proof(run)["absent_minutes"] == {"delisted": 900}


@pytest.mark.parametrize("pair", [SETTLED, GONE], ids=["-1122", "-1121"])
def test_a_pair_that_rest_knows_no_more_is_not_worse_for_being_compared_with_it(
    playing: Any, pair: dict[str, Any]
) -> None:
    with playing({"now": "2024-05-06T12:00Z", "futures": {"DEADUSDT": pair}}) as (run, _):
        assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-04", market="futures").exit_code == 0
        compared = run("verify", "--against", "rest")
    assert compared.exit_code == 0, compared.output
    assert "nothing could be compared" in compared.stdout


def without(running: RunningExchange, ending: str) -> None:
    """Serve no file whose name ends so, though the listing has it."""
    running.exchange.hooks.append(lambda request: Response(status_code=404) if request.path.endswith(ending) else None)


def unreachable(running: RunningExchange, *areas: str) -> None:
    running.exchange.hooks.append(lambda request: "503" if request.area in areas else None)


@pytest.mark.parametrize("market", ["spot", "futures"])
@pytest.mark.parametrize("source", ["auto", "archive"])
def test_a_file_without_checksum_is_no_day_without_trading(playing: Any, market: str, source: str) -> None:
    with playing({"now": "2024-05-06T12:00Z", market: {"DEADUSDT": GONE}}) as (run, running):
        without(running, "2024-05-01.zip.CHECKSUM")
        loaded = backfill(run, "DEAD/USDT", "2024-04-30", "2024-05-04", "--source", source, market=market)
        assert loaded.exit_code == 3, loaded.output
        assert "the archive's file of 2024-05-01 is not used: it has no checksum" in loaded.output
        assert "suspended" not in loaded.output
        assert rows_by_day(run.root) == {"2024-04-30": 1440, "2024-05-02": 540}
        running.exchange.hooks.clear()
        again = backfill(run, "DEAD/USDT", "2024-04-30", "2024-05-04", "--source", source, market=market)
        assert again.exit_code == 0, again.output
        assert rows_by_day(run.root) == {"2024-04-30": 1440, "2024-05-01": 1440, "2024-05-02": 540}
        assert proof(run)["absent_minutes"] == {"delisted": 900}


FOUR_DAYS = {"first": "2024-05-01T00:00Z", "last": "2024-05-04T08:59Z", "unlisted": True, "hidden": True}


def require_the_lacking_day_later(run: MarketData, running: RunningExchange) -> None:
    """Three of the four days are stored, and the other one once its file is good."""
    assert len(rows_by_day(run.root)) == 3
    running.exchange.hooks.clear()
    assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08").exit_code == 0
    assert list(rows_by_day(run.root).values()) == [1440, 1440, 1440, 540]
    assert proof(run)["absent_minutes"] == {"delisted": 900}


@pytest.mark.parametrize("is_listed", [True, False], ids=["listed", "asked for each day"])
@pytest.mark.parametrize("day", ["2024-05-01", "2024-05-04"])
def test_a_first_or_last_file_that_is_bad_shortens_no_life(playing: Any, day: str, is_listed: bool) -> None:
    with playing({"now": "2024-05-08T12:00Z", "spot": {"DEADUSDT": FOUR_DAYS}}) as (run, running):
        without(running, f"{day}.zip.CHECKSUM")
        if not is_listed:
            unreachable(running, "listing")
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08")
        assert loaded.exit_code == 3, loaded.output
        assert f"{day}: the archive's file of {day} is not used: it has no checksum" in loaded.output
        require_the_lacking_day_later(run, running)


@pytest.mark.parametrize("fault", ["403", "503"])
@pytest.mark.parametrize("day", ["2024-05-01", "2024-05-04"])
def test_a_first_or_last_file_that_gets_no_answer_shortens_no_life(playing: Any, day: str, fault: str) -> None:
    with playing({"now": "2024-05-08T12:00Z", "spot": {"DEADUSDT": FOUR_DAYS}}) as (run, running):
        running.exchange.hooks.append(lambda request: fault if request.path.endswith(f"{day}.zip") else None)
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08")
        assert loaded.exit_code == 3, loaded.output
        assert f"{day}: the archive's file of {day} is not used: no answer from http" in loaded.output
        require_the_lacking_day_later(run, running)


@pytest.mark.parametrize("source", ["auto", "archive"])
def test_a_pair_that_only_an_archive_has_that_is_away_is_loaded_another_time(playing: Any, source: str) -> None:
    with playing({"now": "2024-05-08T12:00Z", "spot": {"DEADUSDT": FOUR_DAYS}}) as (run, running):
        unreachable(running, "archive")
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08", "--source", source)
        assert loaded.exit_code == 3, loaded.output
        assert "error: no answer from http" in loaded.output
        assert "INSTEAD" not in loaded.output
        assert not rows_by_day(run.root)
        running.exchange.hooks.clear()
        assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08", "--source", source).exit_code == 0
        assert proof(run)["absent_minutes"] == {"delisted": 900}


@pytest.mark.parametrize("market", ["spot", "futures"])
@pytest.mark.parametrize("day", ["2024-05-01", "2024-05-02", "2024-05-04"])
def test_a_file_that_is_listed_and_not_there_is_no_day_without_trading(playing: Any, day: str, market: str) -> None:
    with playing({"now": "2024-05-08T12:00Z", market: {"DEADUSDT": FOUR_DAYS}}) as (run, running):
        without(running, f"{day}.zip")
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08", market=market)
        assert loaded.exit_code == 3, loaded.output
        assert f"{day}: the archive lists a file of {day} and gives none" in loaded.output
        assert len(rows_by_day(run.root)) == 3
        running.exchange.hooks.clear()
        assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08", market=market).exit_code == 0
        assert list(rows_by_day(run.root).values()) == [1440, 1440, 1440, 540]
        assert proof(run)["absent_minutes"] == {"delisted": 900}


@pytest.mark.parametrize("ending", [".CHECKSUM", ".zip"], ids=["bad files", "files that are listed and missing"])
def test_a_pair_whose_files_cannot_be_read_is_not_another_one(playing: Any, ending: str) -> None:
    pair = {**FOUR_DAYS, "first": "2024-04-20T00:00Z"}
    with playing({"now": "2024-05-08T12:00Z", "spot": {"DEADUSDT": pair}}) as (run, running):
        without(running, ending)
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-08")
    assert loaded.exit_code == 3, loaded.output
    assert "INSTEAD" not in loaded.output
    assert not rows_by_day(run.root)


@pytest.mark.parametrize("word", ["OLD/USDT", "OLDUSDT"])
def test_a_pair_that_ended_before_the_usual_history_is_loaded_if_asked_for(playing: Any, word: str) -> None:
    old = {"first": "2018-11-01T00:00Z", "last": "2018-11-15T08:59Z", "unlisted": True, "hidden": True}
    with playing({"now": "2024-05-08T12:00Z", "spot": {"OLDUSDT": old}}) as (run, _):
        usual = run("--market", "spot", "--pair", word, "backfill")
        assert usual.exit_code == 2, usual.output
        assert "OLD/USDT has klines from 2018-11-01T00:00Z to 2018-11-15T08:59Z" in usual.output
        assert not rows_by_day(run.root)
        loaded = backfill(run, word, "2018-11-14", "2018-11-17")
        assert loaded.exit_code == 0, loaded.output
        assert rows_by_day(run.root) == {"2018-11-14": 1440, "2018-11-15": 540}
        assert proof(run)["absent_minutes"] == {"delisted": 900}


@pytest.mark.parametrize("now", ["2024-05-07T12:00Z", "2024-05-20T12:00Z"])
def test_flat_files_after_a_settlement_hide_no_life(playing: Any, now: str) -> None:
    flat = {**SETTLED, "flat": [["2024-05-02T09:00Z", "2024-12-01T00:00Z"]]}
    del flat["last"]
    with playing({"now": now, "futures": {"DEADUSDT": flat}}) as (run, _):
        loaded = backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-04", market="futures")
        assert loaded.exit_code == 0, loaded.output
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 540}
        assert proof(run)["absent_minutes"] == {"delisted": 900}


@pytest.mark.parametrize("then", [{"status": "BREAK"}, {"unlisted": True, "hidden": True}], ids=["paused", "ended"])
def test_minutes_after_an_end_that_a_load_did_not_know_of_are_no_failure_for_good(playing: Any, then: Any) -> None:
    xyz, last = ("--pair", "XYZ/USDT", "--market", "spot"), {"first": "2024-04-01T00:00Z", "last": "2024-05-08T02:59Z"}
    with playing({"now": "2024-05-08T03:08Z", "spot": {"XYZUSDT": last}}) as (run, running):
        # Midnight is at 03:00 there.
        first = run(*xyz, "--align-tz", "America/Sao_Paulo", "backfill", "--start", "2024-05-07")
        assert first.exit_code == 1 and "2024-05-08 failed: 5 minutes absent" in first.output, first.output
        step(running, {"now": "2024-05-10T12:00Z", "spot": {"XYZUSDT": {**last, **then}}})
        repaired = run("verify", "--repair")
        assert repaired.exit_code == 0, repaired.output
        assert rows_by_day(run.root) == {"2024-05-07": 1440}
        assert proof(run)["absent_minutes"] == {}

        step(running, {"now": "2024-05-10T12:00Z", "spot": {"XYZUSDT": {"first": "2024-04-01T00:00Z"}}})
        assert backfill(run, "XYZ/USDT", "2024-05-07", "2024-05-10").exit_code == 0
        assert set(rows_by_day(run.root).values()) == {1440}
        proof(run)


def test_the_rest_of_a_day_that_nothing_explained_is_delisted_once_the_end_is_proven(playing: Any) -> None:
    xyz = "--pair", "XYZ/USDT", "--market", "spot"
    gone = {"first": "2024-04-01T00:00Z", "last": "2024-05-07T23:59Z", "unlisted": True, "hidden": True}
    with playing({"now": "2024-05-09T07:00Z", "spot": {"XYZUSDT": gone}}) as (run, running):
        first = run(*xyz, "--align-tz", "+05:45", "backfill", "--start", "2024-05-08")
        assert first.exit_code == 1 and "1,095 minutes absent from 2024-05-08T00:00Z" in first.output, first.output
        step(running, {"now": "2024-05-10T12:00Z", "spot": {"XYZUSDT": gone}})
        repaired = run("verify", "--repair")
        assert repaired.exit_code == 0, repaired.output
        assert proof(run)["absent_minutes"] == {"delisted": 1095}


def test_an_end_is_taken_back_when_the_pair_is_traded_again(playing: Any) -> None:
    with playing({"now": "2024-05-06T12:00Z", "futures": {"DEADUSDT": GONE}}) as (run, running):
        assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-04", market="futures").exit_code == 0
        back = {"first": "2024-04-20T00:00Z", "gaps": [["2024-05-02T09:00Z", "2024-05-02T12:00Z"]]}
        step(running, {"now": "2024-05-06T12:00Z", "futures": {"DEADUSDT": back}})
        assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-04", market="futures").exit_code == 0
        assert list(rows_by_day(run.root).values()) == [1440, 1260, 1440]
        assert proof(run)["absent_minutes"] == {"suspended": 180}


@pytest.mark.parametrize("source", ["auto", "rest"])
def test_a_repair_asks_again_about_an_end(playing: Any, source: str) -> None:
    with playing({"now": "2024-05-06T12:00Z", "futures": {"DEADUSDT": GONE}}) as (run, running):
        assert backfill(run, "DEAD/USDT", "2024-05-01", "2024-05-04", market="futures").exit_code == 0
        still = run("verify", "--repair", MARKET_DATA_SOURCE=source)
        assert still.exit_code == 0 and "→" not in still.output, still.output
        back = {"first": "2024-04-20T00:00Z", "gaps": [["2024-05-02T09:00Z", "2024-05-02T12:00Z"]]}
        step(running, {"now": "2024-05-06T12:00Z", "futures": {"DEADUSDT": back}})
        repaired = run("verify", "--repair", MARKET_DATA_SOURCE=source)
        assert repaired.exit_code == 0, repaired.output
        assert "no klines after 2024-05-02T09:00Z, and the exchange has later ones now" in repaired.output
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 1260}
        assert proof(run)["absent_minutes"] == {"suspended": 180}


def test_the_fallback_is_for_pairs_that_neither_source_knows(playing: Any) -> None:
    with playing({"now": "2024-05-06T12:00Z"}) as (run, _):
        loaded = backfill(run, "NOPE/USDT", "2024-05-01", "2024-05-02", market="futures")
    assert loaded.exit_code == 0
    assert "does not list NOPE/USDT: working on BTC/USDT INSTEAD" in loaded.stdout


def test_both_pairs_of_a_symbol_are_loaded_and_the_reuse_is_said_and_kept(playing: Any) -> None:
    earlier = {"first": "2025-01-28T00:00Z", "last": "2025-01-31T08:59Z"}
    lit = {"first": "2025-12-23T17:30Z", "archive_only": earlier}
    with playing({"now": "2025-12-26T12:00Z", "futures": {"LITUSDT": lit}}) as (run, running):
        loaded = backfill(run, "LIT/USDT", "2025-01-28", market="futures")
        assert loaded.exit_code == 0, loaded.output
        said = "an earlier pair had this symbol until 2025-01-31T09:00Z, this one begins 2025-12-23T17:30Z"
        assert said in loaded.stdout
        assert list(rows_by_day(run.root).values()) == [1440, 1440, 1440, 540, 390, 1440, 1440, 720]
        assert said in run("status").stdout
        [described] = [json.loads(path.read_text()) for path in run.root.glob("*/*/1m/dataset.json")]
        assert described["reused"] == {"start": "2025-01-31T09:00Z", "end": "2025-12-23T17:30Z"}
        assert proof(run)["ok"]

        asked: list[str] = []
        running.exchange.hooks.append(lambda request: asked.append(request.path))  # type: ignore[func-returns-value]
        assert backfill(run, "LIT/USDT", "2025-01-28", market="futures").exit_code == 0
    assert len(asked) <= 15, asked


def test_days_between_two_pairs_of_a_symbol_are_refused_in_one_line(playing: Any) -> None:
    lit = {"first": "2025-12-23T17:30Z", "archive_only": {"first": "2025-01-28T00:00Z", "last": "2025-01-31T08:59Z"}}
    with playing({"now": "2025-12-26T12:00Z", "futures": {"LITUSDT": lit}}) as (run, _):
        # The first of these days begins on the last UTC day of the earlier pair.
        pair = "--market", "futures", "--pair", "LIT/USDT", "--align-tz", "+05:45", "backfill"
        assert run(*pair, "--start", "2025-12-24", "--end", "2025-12-25").exit_code == 0
        refused = run(*pair, "--start", "2025-02-01", "--end", "2025-02-10")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.output
    assert "none in the requested window 2025-01-31T18:15Z to 2025-02-09T18:15Z" in refused.stderr


def test_an_earlier_pair_that_is_loaded_in_part_was_listed_before_that_part(playing: Any) -> None:
    earlier = {"first": "2024-12-30T07:00Z", "last": "2025-02-02T08:59Z"}
    lit = {"first": "2025-02-04T17:30Z", "archive_only": earlier}
    with playing({"now": "2025-02-06T12:00Z", "futures": {"LITUSDT": lit}}) as (run, _):
        pair = "--market", "futures", "--pair", "LIT/USDT", "--align-tz", "+05:45"
        loaded = run(*pair, "backfill", "--start", "2025-01-30T12:00", "--end", "2025-02-01", "--no-align-window")
        assert loaded.exit_code == 0, loaded.output
        assert proof(run)["absent_minutes"] == {"not_requested": 720}
        assert json.loads(run("status", "--json").stdout)[0]["start"] == "2024-12-30"

        days = ["2024-12-29", "2024-12-31", "2025-01-31"]
        options = {"market": "futures", "root": run.root}
        mask = open_panel("LIT/USDT", start=days[0], end=days[-1], **options).mask().to_pandas()["LIT/USDT"]
        assert mask.value_counts()[["not_listed", "not_loaded", "not_requested"]].tolist() == [1440, 44640, 720]
        # Two days of January are no kline of January.
        exported = run(*pair, "export", "--format", "csv", "--output", run.root.parent / "out", "--interval", "1mo")
    assert (exported.exit_code, exported.stderr.count("no whole klines of 1mo")) == (2, 1), exported.output


@pytest.mark.parametrize(
    "error", [None, [400, {"code": -1122, "msg": "Invalid symbol status."}]], ids=["none", "-1122"]
)
def test_an_earlier_pair_is_loaded_while_the_next_one_of_its_symbol_is_announced(playing: Any, error: Any) -> None:
    earlier = {"first": "2025-01-28T00:00Z", "last": "2025-01-31T08:59Z"}
    lit = {"first": "2025-12-23T17:30Z", "archive_only": earlier}
    announced = {**lit, "status": "PENDING_TRADING", **({"klines_error": error} if error else {})}
    with playing({"now": "2025-12-20T12:00Z", "futures": {"LITUSDT": announced}}) as (run, running):
        loaded = backfill(run, "LIT/USDT", "2025-01-28", market="futures")
        assert loaded.exit_code == 0, loaded.output
        assert list(rows_by_day(run.root).values()) == [1440, 1440, 1440, 540]
        assert proof(run)["absent_minutes"] == {"delisted": 900}
        step(running, {"now": "2025-12-26T12:00Z", "futures": {"LITUSDT": lit}})
        assert backfill(run, "LIT/USDT", "2025-01-28", market="futures").exit_code == 0
        assert list(rows_by_day(run.root).values()) == [1440, 1440, 1440, 540, 390, 1440, 1440, 720]
        assert proof(run)["ok"]


@pytest.mark.parametrize(
    ("more", "code"), [({}, 3), ({"last": "2024-05-03T08:59Z", "status": "BREAK"}, 0)], ids=["traded", "paused"]
)
def test_an_empty_answer_about_the_first_kline_proves_nothing_of_minutes_that_a_file_lacks(
    playing: Any, more: dict[str, str], code: int
) -> None:
    pair = {"first": "2024-04-01T00:00Z", **more}
    with playing({"now": "2024-05-06T12:00Z", "spot": {"XYZUSDT": pair}}) as (run, running):
        running.exchange.hooks.append(
            lambda request: Response(b"[]") if request.params.get("startTime") == "0" else None
        )
        running.exchange.faults = {"archive_drops_rows": 1}
        loaded = backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-03")
        assert loaded.exit_code == code, loaded.output
        running.exchange.hooks.clear()
        assert backfill(run, "XYZ/USDT", "2024-05-01", "2024-05-03").exit_code == 0
        assert rows_by_day(run.root) == {"2024-05-01": 1440, "2024-05-02": 1440}


@pytest.mark.parametrize("areas", [("archive",), ("listing",), ("archive", "listing")], ids="+".join)
def test_the_present_pair_of_a_symbol_needs_no_archive(playing: Any, areas: tuple[str, ...]) -> None:
    earlier = {"first": "2025-01-28T00:00Z", "last": "2025-01-31T08:59Z"}
    lit = {"first": "2025-12-23T17:30Z", "archive_only": earlier}
    with playing({"now": "2025-12-26T12:00Z", "futures": {"LITUSDT": lit}}) as (run, running):
        unreachable(running, *areas)
        loaded = backfill(run, "LIT/USDT", "2025-01-28", market="futures")
        assert loaded.exit_code == 0, loaded.output
        is_known = "archive" not in areas
        assert ("whether there are klines before 2025-12-23 is not known" in loaded.output) is not is_known
        assert len(rows_by_day(run.root)) == (8 if is_known else 4)


def test_the_minute_of_a_settlement_is_stored_if_it_was_traded(playing: Any) -> None:
    row = [
        at("2024-07-11T09:00"), "2.50750000", "2.50750000", "2.47500000", "2.47500000", "12531.00000000",
        at("2024-07-11T09:01") - 1, "31200.00000000", 133, "100.00000000", "249.00000000", "0",
    ]  # fmt: skip
    gal = {
        "first": "2024-07-01T00:00Z", "flat": [["2024-07-11T09:01Z", "2024-12-01T00:00Z"]], "price": 2.5,
        "status": "SETTLING", "deliveryDate": at("2024-07-11T09:00"), "rows": [row],
    }  # fmt: skip
    with playing({"now": "2024-07-13T12:00Z", "futures": {"GALUSDT": gal}}) as (run, _):
        assert backfill(run, "GAL/USDT", "2024-07-10", "2024-07-13", market="futures").exit_code == 0
        assert rows_by_day(run.root) == {"2024-07-10": 1440, "2024-07-11": 541}
        assert proof(run)["absent_minutes"] == {"delisted": 899}


@pytest.mark.parametrize(("market", "status"), [("spot", "BREAK"), ("futures", "PENDING_TRADING")])
def test_an_announced_pair_is_not_traded_yet_and_loads_when_it_is(playing: Any, market: str, status: str) -> None:
    new = {"first": "2024-05-05T10:00Z", "status": status}
    with playing({"now": "2024-05-04T12:00Z", market: {"NEWUSDT": new}}) as (run, running):
        refused = backfill(run, "NEW/USDT", "2024-05-01", market=market)
        assert refused.exit_code == 3
        assert "it is not traded yet" in refused.stderr
        assert not rows_by_day(run.root)
        step(running, {"now": "2024-05-05T12:00Z", market: {"NEWUSDT": {"first": "2024-05-05T10:00Z"}}})
        assert backfill(run, "NEW/USDT", "2024-05-01", market=market).exit_code == 0
        assert rows_by_day(run.root) == {"2024-05-05": 120}
