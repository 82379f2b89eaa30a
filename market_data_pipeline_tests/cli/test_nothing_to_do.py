"""What a backfill need not import: Dagster, where it finds nothing to do and no database of Dagster has changed.

And pandera, where it has written every chunk that is checked.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from market_data_pipeline.core.store.root import Store
from market_data_pipeline.instance.runs import open_instance, recorded_days
from market_data_pipeline_tests.support import MarketData, Simulate

pytestmark = pytest.mark.slow
MadeOf = Callable[..., MarketData]
LOAD = ("--market", "spot", "backfill", "--start", "2024-05-10", "--end", "2024-05-13")


@pytest.fixture
def run(market_data: MadeOf, simulate: Simulate) -> MarketData:
    run = market_data(simulate())
    assert run.run(*LOAD).returncode == 0
    return run


def imports_dagster(run: MarketData) -> bool:
    """Whether a backfill of what is stored imports Dagster."""
    done = run.run(*LOAD, PYTHONPROFILEIMPORTTIME="1")
    assert "3 unchanged" in done.stdout
    return imports(done, "dagster")


def imports(done: "subprocess.CompletedProcess[str]", package: str) -> bool:
    assert done.returncode == 0, done.stderr
    return re.search(rf"\| +{package}$", done.stderr, re.MULTILINE) is not None


def home_of(run: MarketData) -> Path:
    return run.root / "dagster"


def let_time_pass(run: MarketData) -> None:
    """Make all databases ten seconds older: what was just written is not trusted to be what it seems."""
    for path in (home_of(run) / "dagster.yaml", *home_of(run).glob("history/**/*.db*")):
        os.utime(path, (time.time() - 10,) * 2)


def recorded(run: MarketData) -> set[str]:
    [dataset] = Store(run.root).datasets()
    with open_instance(home_of(run)) as instance:
        return recorded_days(instance, dataset)


def test_dagster_is_imported_once(run: MarketData) -> None:
    let_time_pass(run)
    assert [imports_dagster(run) for _ in range(3)] == [True, False, False]


def test_days_that_dagster_has_lost_are_recorded_again(run: MarketData) -> None:
    let_time_pass(run)
    assert [imports_dagster(run), imports_dagster(run)] == [True, False]
    days = recorded(run)
    [dataset] = Store(run.root).datasets()
    with open_instance(home_of(run)) as instance:
        instance.wipe_assets(instance.all_asset_keys())
    assert recorded(run) == set()
    let_time_pass(run)
    assert imports_dagster(run)
    assert recorded(run) == days != set()


def test_another_home_is_asked(run: MarketData, tmp_path: Path) -> None:
    let_time_pass(run)
    assert [imports_dagster(run), imports_dagster(run)] == [True, False]
    home = tmp_path / "home"
    assert run.run(*LOAD, DAGSTER_HOME=str(home)).returncode == 0
    [dataset] = Store(run.root).datasets()
    with open_instance(home) as instance:
        assert len(recorded_days(instance, dataset)) == 3


def test_a_home_whose_days_are_recorded_elsewhere_gets_no_note(run: MarketData, tmp_path: Path) -> None:
    """The databases in the home, from before, say nothing of what changes there."""
    settings = home_of(run) / "dagster.yaml"
    settings.write_text(
        f"storage: {{sqlite: {{base_dir: '{(tmp_path / 'elsewhere').as_posix()}'}}}}\n", encoding="utf-8"
    )
    assert run.run(*LOAD).returncode == 0
    let_time_pass(run)
    assert [imports_dagster(run), imports_dagster(run)] == [True, True]


def test_files_of_the_past_get_a_second_opinion_and_those_just_written_do_not(
    market_data: MadeOf, simulate: Simulate
) -> None:
    run = market_data(simulate())
    first = run.run(*LOAD, PYTHONPROFILEIMPORTTIME="1")
    assert "3 loaded" in first.stdout
    more = run.run(*LOAD[:-1], "2024-05-14", PYTHONPROFILEIMPORTTIME="1")
    assert re.search(r"\b1 loaded", more.stdout)
    assert (imports(first, "pandera"), imports(more, "pandera")) == (False, True)
