"""The command `report`: a Dagster home that is lost or new gets its days again, and wrong input is one line."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from market_data_pipeline.instance import runs
from market_data_pipeline_tests.cli.test_bulk import of, universe
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import MarketData, data_files, parsed

PAIRS = ["P0/USDT", "P1/USDT"]
SCENARIO: dict[str, Any] = {
    "now": "2024-05-06T12:00:05Z",
    "futures": {pair.replace("/", ""): {"first": "2024-04-01T00:00Z"} for pair in PAIRS},
}
WINDOW = ("--start", "2024-05-01", "--end", "2024-05-03")


@pytest.fixture
def forgetful(market_data: Callable[..., MarketData]) -> Iterator[MarketData]:
    """Two datasets, whose Dagster home is lost."""
    with scenario_exchange(SCENARIO, weights=False) as exchange:
        run = market_data(exchange)
        for pair in PAIRS:
            done = run(*of(pair), "backfill", *WINDOW)
            assert done.exit_code == 0, done.output
        shutil.rmtree(run.root / "dagster")
        yield run


def jobs(run: MarketData) -> list[str]:
    with runs.open_instance(run.root / "dagster") as instance:
        return [each.job_name for each in instance.get_runs()]


def test_a_lost_home_gets_its_days_again_in_one_run_and_a_second_report_needs_none(forgetful: MarketData) -> None:
    before = data_files(forgetful.root)
    told = forgetful("report")
    assert told.exit_code == 0, told.output
    first, second, _ = told.stdout.splitlines()
    assert (first, second[:18]) == ("2 datasets: 4 days stored", "  told      4 days")
    assert jobs(forgetful) == ["report"]
    again = forgetful("report", "--json")
    assert again.exit_code == 0
    _, result = parsed(again.stdout)
    assert result == {
        "ok": True,
        "run_id": None,
        "told": 0,
        "error": None,
        "datasets": [
            {"name": f"futures {pair}", "days": 2, "told": 0, "not_stored": 0, "error": None} for pair in PAIRS
        ],
    }
    assert jobs(forgetful) == ["report"]
    # A backfill has nothing to do, and no day to record.
    assert "none, as there was nothing to do" in forgetful(*of(*PAIRS), "backfill", *WINDOW).stdout
    assert data_files(forgetful.root) == before


def test_a_manifest_without_a_day_that_is_told_of_is_named(forgetful: MarketData) -> None:
    forgetful("report")
    with runs.open_instance(forgetful.root / "dagster") as instance:
        instance.wipe_assets([dg.AssetKey(["binanceusdm", "P0USDT", "manifest"])])
    assert "  told      0 days, 1 manifest in " in forgetful("report").stdout
    assert "  told      0 days in " in forgetful("report").stdout


def test_datasets_are_chosen_as_of_other_commands(forgetful: MarketData) -> None:
    assert "1 dataset: 2 days stored" in forgetful(*of("P0USDT"), "report").stdout
    universe(forgetful, market="futures", pairs=["P*"])
    of_both = forgetful("--universe", "mine", "report")
    assert "told      2 days" in of_both.stdout and "2 datasets: 4 days" in of_both.stdout


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "there is nothing in "),
        (("--market", "spot", "--pair", "NOSUCH/USDT"), "there is no spot NOSUCH/USDT under "),
        (("--universe", "nosuch"), "no universe 'nosuch'"),
    ],
)
def test_what_is_not_stored_cannot_be_told(
    market_data: Callable[..., MarketData], words: tuple[str, ...], problem: str
) -> None:
    refused = market_data()(*words, "report")
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"error: {problem}")


def test_a_damaged_dataset_is_named_and_hides_no_other(forgetful: MarketData) -> None:
    damaged = forgetful.root / "binanceusdm" / "P0USDT" / "1m" / "dataset.json"
    damaged.write_text("{")
    for words in ((), of("P0/USDT", "P1/USDT")):
        done = forgetful(*words, "report", "--json")
        assert done.exit_code == 1
        events, result = parsed(done.stdout)
        begun, failure = (event for event in events if event["event"] != "progress")
        assert (begun["datasets"], failure["event"]) == (2, "failed")
        assert failure["error"] == result["datasets"][0]["error"]
        failed, good = result["datasets"]
        assert str(damaged) in failed["error"]
        assert (good["name"], good["days"], good["error"]) == ("futures P1/USDT", 2, None)
    assert "  failed    " in forgetful("report").stdout
