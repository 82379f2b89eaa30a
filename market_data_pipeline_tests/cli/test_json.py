"""`--json` of every command: each line is one JSON value, and the last one is the result."""

import json
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main

from market_data_pipeline.cli.main import app
from market_data_pipeline.cli.shell.examples import EXAMPLES
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.stopping import IN_WINE, Running, interrupt, stop
from market_data_pipeline_tests.support import (
    CHECKOUT,
    NOON,
    PATIENCE,
    MarketData,
    chunk_files,
    flip_a_byte,
    parsed,
    wait_until,
)

SPOT = ("--market", "spot")
DAYS = ("--start", "2024-05-10", "--end", "2024-05-12")
UNIVERSES = """
[universe.mine]
market = "spot"
pairs = ["BTC/USDT", "ETH/USDT"]
start = "2024-05-14"
"""
in_no_wine = pytest.mark.skipif(IN_WINE, reason="Wine ends a thread at Ctrl-Break, whatever handles it there")
GROUP: Any = typer.main.get_command(app)

# The words before `--json` of each command that ends by itself.
ENDING = {
    "backfill": [*SPOT, "backfill", *DAYS],
    "live": [*SPOT, "live", "--mark"],
    "verify": ["verify"],
    "combine": [*SPOT, "combine"],
    "export": [*SPOT, "export", "--format", "csv", "--output", "OUTPUT"],
    "snapshot": ["snapshot", "paper"],
    "status": ["status"],
    "pairs": [*SPOT, "pairs"],
    "universe list": ["universe", "list"],
    "universe show": ["universe", "show", "mine"],
    "universe apply": ["universe", "apply", "mine"],
    "health": [*SPOT, "health"],
    "doctor": ["doctor"],
    "report": ["report"],
}
# Those that run until they are stopped, and those that have tests of their own below.
SERVERS = {"up", "serve", "simulate", "worker"}
OTHERS = {"demo"}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its words; of a group those below it."""
    for name, command in GROUP.commands.items():
        below = getattr(command, "commands", None)
        yield from ((f"{name} {word}", each) for word, each in below.items()) if below else [(name, command)]


COMMANDS = dict(commands())


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two days of a pair, and a universe."""
    root = tmp_path_factory.mktemp("json") / "root"
    with serve(SimulatedExchange(now=NOON, speed=0)) as running:
        done = MarketData(root, running.url).run(*SPOT, "backfill", *DAYS)
        assert done.returncode == 0, done.stderr
    (root / "market-data.toml").write_text(UNIVERSES, encoding="utf-8")
    return root


@pytest.fixture
def run(market_data: Callable[..., MarketData], loaded: Path) -> MarketData:
    tool = market_data()
    shutil.copytree(loaded, tool.root)
    return tool


def test_every_command_is_in_these_tests() -> None:
    assert COMMANDS.keys() == ENDING.keys() | SERVERS | OTHERS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json(name: str) -> None:
    assert any("--json" in option.opts for option in COMMANDS[name].params)


@pytest.mark.parametrize("name", ENDING)
def test_what_a_command_prints_parses(run: MarketData, name: str) -> None:
    words = [str(run.root.parent / "exported") if word == "OUTPUT" else word for word in ENDING[name]]
    done = run(*words, "--json")
    assert done.exit_code in (0, 1), done.output  # the clock of health and doctor is years off
    parsed(done.stdout)


@pytest.mark.parametrize(
    "words",
    [[*SPOT, "status", "--runs"], [*SPOT, "backfill", *DAYS, "--plan"], ["universe", "apply", "mine", "--plan"]],
)
def test_what_other_ways_of_a_command_print_parses(run: MarketData, words: list[str]) -> None:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    events, _ = parsed(done.stdout)
    assert events == []


def test_a_load_tells_its_begin_what_failed_and_the_result(market_data: Callable[..., MarketData]) -> None:
    tool = market_data()
    done = tool.run(*SPOT, "backfill", *DAYS, "--json")
    events, result = parsed(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert events[0] == {"event": "begun", "dataset": "spot BTC/USDT", "days": 2}
    assert {event["event"] for event in events} <= {"begun", "progress"}
    [one] = result["datasets"]
    assert (result["ok"], one["days"], one["rows"], one["failed"]) == (True, {"loaded": 2}, 2880, [])
    assert result["run_id"]


def test_a_failed_day_is_an_event_and_in_the_result(market_data: Callable[..., MarketData]) -> None:
    # The archive has a day when it is over.
    done = market_data()(
        *SPOT, "backfill", "--start", "2024-05-14", "--end", "2024-05-16", "--source", "archive", "--json"
    )
    events, result = parsed(done.stdout)
    failed = [event for event in events if event["event"] == "failed"]
    assert done.exit_code in (1, 3)
    assert [event["day"] for event in failed] == [each["day"] for each in result["datasets"][0]["failed"]] != []
    assert result["ok"] is False


def test_a_load_of_many_has_the_shape_of_a_load_of_one(run: MarketData) -> None:
    pairs = ("--pair", "BTC/USDT", "--pair", "ETH/USDT")
    many = run.run(*SPOT, *pairs, "backfill", *DAYS, "--json")
    events, result = parsed(many.stdout)
    assert [event.get("dataset") for event in events if event["event"] == "ended"] != []
    assert [one["name"] for one in result["datasets"]] == ["spot BTC/USDT", "spot ETH/USDT"]
    one = parsed(run(*SPOT, "backfill", *DAYS, "--json").stdout)[1]
    assert one.keys() == result.keys()
    assert result["datasets"][0].keys() <= one["datasets"][0].keys()
    combined = parsed(run(*SPOT, *pairs, "combine", "--json").stdout)[1]
    assert [each["outcome"] for each in combined["datasets"]] == ["built", "built"]
    assert combined.keys() == parsed(run(*SPOT, "combine", "--json").stdout)[1].keys()


def test_a_dataset_has_one_name_however_its_pair_is_written(run: MarketData) -> None:
    pairs = ("--pair", "BTCUSDT", "--pair", "ETHUSDT")
    events, result = parsed(run.run(*SPOT, *pairs, "backfill", *DAYS, "--json").stdout)
    named = {event["dataset"] for event in events if event["event"] in {"begun", "ended"} and "dataset" in event}
    assert named == {one["name"] for one in result["datasets"]} == {"spot BTC/USDT", "spot ETH/USDT"}
    combined = parsed(run(*SPOT, "--pair", "BTCUSDT", "combine", "--json").stdout)[1]
    assert [one["name"] for one in combined["datasets"]] == ["spot BTC/USDT"]


def test_a_repair_tells_what_became_of_each_day(run: MarketData) -> None:
    flip_a_byte(chunk_files(run.root)["2024-05-11"])
    events, [proof] = parsed(run("verify", "--repair", "--json").stdout)
    [repaired] = [event for event in events if event["event"] == "repaired"]
    assert (repaired["dataset"], repaired["ok"], proof["ok"]) == ("spot BTC/USDT", True, True)


@pytest.mark.slow
def test_live_mode_tells_each_minute(market_data: Callable[..., MarketData], simulate: Any) -> None:
    tool = market_data(simulate(now=None, speed=30))
    done = tool.run(*SPOT, "live", "--minutes", "2", "--json")
    events, result = parsed(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [event["event"] for event in events if event["event"] in {"following", "minute"}][:2] == [
        "following",
        "minute",
    ]
    assert result["ok"], result
    assert result["datasets"] == 1


def test_a_refused_request_prints_no_json(run: MarketData) -> None:
    for words in (["--align-tz", "Mars", "backfill"], ["universe", "show", "no-such"], ["worker"]):
        done = run(*words, "--json")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as tried:
        return tried.connect_ex((address.hostname, address.port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("words", [["simulate", "--port", "0"], ["serve", "--port", "18734"]])
@pytest.mark.parametrize("end", [interrupt, pytest.param(stop, marks=in_no_wine)])
def test_a_server_tells_its_address_and_its_end(
    run: MarketData, words: list[str], end: Callable[[Running], None]
) -> None:
    with run.start(*words, "--json") as process:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        wait_until(lambda: listens(ready["url"]))
        end(process)
        rest, errors = process.communicate(timeout=60 * PATIENCE)
    assert (ready["event"], ready["url"].partition(":")[0], process.returncode) == ("ready", "http", 0), errors
    assert parsed(rest)[1]["ok"] is True


@pytest.mark.slow
def test_up_says_in_json_what_it_says_to_people(run: MarketData) -> None:
    with run.start("up", "--port", "18735", "--dagster-port", "18736", "--json") as process:
        assert process.stdout
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        interrupt(process)
        rest, errors = process.communicate(timeout=120 * PATIENCE)
    assert {line["event"] for line in lines} == {"said"}, errors
    assert parsed(rest)[1] == {"ok": True}


@pytest.mark.slow
def test_the_demo_ends_with_all_its_results(run: MarketData) -> None:
    events, result = parsed(run.run("demo", "--json").stdout)
    assert [event["what"] for event in events if event["event"] == "step"] == ["load", "combine", "verify"]
    assert result["ok"] is result["load"]["ok"] is result["combine"]["ok"] is True


@pytest.mark.slow
@pytest.mark.parametrize("words", [["demo"], ["demo", "--json"]])
def test_a_demo_that_cannot_combine_says_why_in_one_line(run: MarketData, words: list[str]) -> None:
    in_the_way = run.root.with_name(f"{run.root.name}-demo") / "binance" / "BTCUSDT" / "1m" / "combined"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    done = run.run(*words)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr


# --- the page, and the examples of the help


def test_every_event_is_on_the_page() -> None:
    page = (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8")
    sources = [*(CHECKOUT / "market_data_pipeline" / "cli").rglob("*.py")]
    told = {
        name
        for path in sources
        for name in re.findall(r'\.tell(?:_if_due)?\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len(told) > 10
    assert [name for name in told if f"`{name}`" not in page] == []


def test_every_command_has_examples_that_are_understood() -> None:
    groups = {name.partition(" ")[0] for name in COMMANDS if " " in name}
    assert EXAMPLES.keys() == COMMANDS.keys() | groups
    for line in (line for lines in EXAMPLES.values() for line in lines):
        program, *words = shlex.split(line)
        assert program == "market-data"
        with GROUP.make_context("market-data", words) as context:
            name, command, rest = GROUP.resolve_command(context, [*context._protected_args, *context.args])
            command.make_context(name, rest, parent=context).close()
