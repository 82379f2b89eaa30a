"""What a scenario file may say, and the line that tells what is wrong with one."""

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.scenario.format import ScenarioError
from market_data_pipeline_tests.support import CHECKOUT, MarketData

LIFE = {"first": "2024-05-01T00:00Z"}


def refusal(scenario: Any) -> str:
    with pytest.raises(ScenarioError) as raised:
        SimulatedExchange(scenario=scenario)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ({"nwo": "2024-05-01T00:00Z"}, "nwo: unknown key; known keys: now, speed, spot, futures, fail"),
        ({"spot": {"XYZUSDT": {"gap": []}}}, "spot.XYZUSDT.gap: unknown key; known keys: first, last, gaps, "),
        ({"fail": [{"path": "", "status": 500, "count": 1}]}, "fail[0].count: unknown key; known keys: path, symbol, "),
        ({"now": "yesterday"}, "now: 'yesterday' is no ISO time such as 2024-05-01T00:00Z"),
        ({"now": "2024-05-01T00:00"}, "now: '2024-05-01T00:00' has no time zone; write 2024-05-01T00:00Z"),
        ({"now": True}, "now: True is no time; write 2024-05-01T00:00Z, or ms since 1970"),
        ({"speed": -1}, "speed: input should be greater than or equal to 0, not -1"),
        ({"spot": []}, "spot: input should be a valid dictionary, not []"),
        ({"spot": {"A/B": LIFE}}, "spot.A/B: 'A/B' is no symbol of an exchange, such as BTCUSDT"),
        (
            {"spot": {"X": {"first": "2024-05-01T00:00:30Z"}}},
            "spot.X.first: '2024-05-01T00:00:30Z' is not a whole minute",
        ),
        (
            {"spot": {"X": {"gaps": [["2024-05-01T00:00Z"]]}}},
            "spot.X.gaps[0]: ['2024-05-01T00:00Z'] is not a list of two",
        ),
        ({"spot": {"X": {"gaps": [["2024-05-01T00:00Z", 0]]}}}, "spot.X: gaps has a span that ends where it starts"),
        ({"spot": {"X": {**LIFE, "last": "2024-04-30T00:00Z"}}}, "spot.X: last lies before first"),
        ({"spot": {"X": {"rows": [["1714521600000"]]}}}, "spot.X.rows[0]: ['1714521600000'] is not a list of fields"),
        ({"spot": {"X": {"hidden": 1}}}, "spot.X.hidden: input should be a valid boolean, not 1"),
        ({"spot": {"X": {"price": 0}}}, "spot.X.price: input should be greater than 0, not 0"),
        ({"spot": {"X": {"price": "80"}}}, "spot.X.price: input should be a valid number, not '80'"),
        ({"spot": {"X": {"deliveryDate": 0}}}, "spot.X.deliveryDate: only pairs of futures have it"),
        ({"spot": {"X": {"klines_error": 400}}}, "spot.X.klines_error: 400 is not a list of HTTP status, body, and"),
        ({"spot": {"X": {"klines_error": [99, {}]}}}, "spot.X.klines_error.status: input should be greater than or"),
        ({"spot": {"X": {"archive_missing": ["2024-5-1"]}}}, "spot.X.archive_missing[0]: '2024-5-1' is no day such as"),
        ({"spot": {"X": {"archive_text": {"05-01": ""}}}}, "spot.X.archive_text.05-01: '05-01' is no day such as"),
        ({"spot": {"X": {"archive_only": {}}}}, "spot.X.archive_only[0].first: field required, not {} (and 1 more)"),
        ({"fail": [{"path": "klines"}]}, "fail[0]: give a status or a fault, and not both"),
        ({"fail": [{"path": "", "fault": "teapot"}]}, "fail[0]: there is no fault 'teapot'; known faults: reset, "),
    ],
)
def test_what_is_wrong_is_said_with_its_place(scenario: Any, said: str) -> None:
    assert refusal(scenario).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: not JSON: "),
        ('{"now": 0 1}', "line 1, column 11: not JSON: "),
        ('{"spot": {"X": {}, "X": {}}}', "the key 'X' is there twice in one object"),
        ('{"now": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[]", "input should be a valid dictionary or instance of ScenarioSpec, not []"),
        ('{"spot": 1}', "spot: input should be a valid dictionary, not 1"),
    ],
)
def test_a_file_is_named_in_the_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "s.json"
    file.write_text(text, encoding="utf-8")
    assert refusal(file).startswith(f"{file}: {said}")


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    assert re.search(r"none\.json: cannot be read: ", refusal(tmp_path / "none.json"))
    (tmp_path / "s.json").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path / "s.json") == f"{tmp_path / 's.json'}: is not UTF-8"


def test_a_folder_and_a_scenario_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="not both"):
        SimulatedExchange(tmp_path, scenario={})


def test_a_document_of_python_and_its_file_play_the_same(tmp_path: Path) -> None:
    document = {"now": "2024-05-01T06:00Z", "spot": {"XYZUSDT": LIFE}}
    (tmp_path / "s.json").write_text(json.dumps(document), encoding="utf-8")
    played = [
        SimulatedExchange(scenario=told, speed=0) for told in (document, tmp_path / "s.json", str(tmp_path / "s.json"))
    ]
    assert len({exchange.stats()["now"] for exchange in played}) == 1
    assert [[pair.symbol for pair in exchange.pairs] for exchange in played] == [["XYZUSDT"]] * 3


def test_the_scenario_of_the_docs_plays() -> None:
    page = (CHECKOUT / "docs" / "simulator.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(SimulatedExchange(scenario=json.loads(block)).pairs) == 5


def test_the_command_plays_a_file(market_data: Callable[..., MarketData], tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text('{"now": "2024-05-15T12:00Z", "spot": {"币安人生USDT": {}}}', encoding="utf-8")
    with market_data().start("simulate", "--port", "0", "--scenario", str(file)) as process:
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/api/v3/exchangeInfo") as response:
            assert [symbol["symbol"] for symbol in json.load(response)["symbols"]] == ["币安人生USDT"]
        file.write_text("{", encoding="utf-8")
        urllib.request.urlopen(f"{url}/api/v3/time").close()
        assert process.stderr.readline().startswith(f"warning: the scenario goes on as it was: {file}: line 1, column ")
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.parametrize("options", [(), ("--archive", ".")])
def test_the_command_refuses_a_file_in_one_line(
    market_data: Callable[..., MarketData], tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "s.json"
    file.write_text('{"spto": {}}' if not options else "{}", encoding="utf-8")
    done = market_data().run("simulate", "--scenario", file, *(("--archive", tmp_path) if options else ()))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert ("not both" if options else f"{file}: spto: unknown key") in done.stderr
