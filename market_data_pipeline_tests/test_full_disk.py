"""A disk that gets full under Dagster's home or under the log, from the command line."""

import shutil
from pathlib import Path

import pytest

from market_data_pipeline_tests.support import MarketData, Simulate, rows_by_day, without_progress

LOAD = ("--market", "spot", "backfill", "--start", "2024-05-01", "--end", "2024-05-04")


def fill(disk: Path, *, leave_kb: int) -> Path:
    """A file that leaves so many kB of the disk free."""
    filling = disk / "filling"
    filling.write_bytes(bytes(shutil.disk_usage(disk).free - leave_kb * 1024))
    return filling


@pytest.mark.parametrize(
    "leave_kb",
    [
        pytest.param(20, id="the databases cannot be created", marks=pytest.mark.slow),
        pytest.param(500, id="the run cannot be created"),
        pytest.param(900, id="the run cannot be continued", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_under_the_home_of_dagster_is_one_line_and_the_same_command_goes_on(
    simulate: Simulate, tmp_path: Path, small_disk: Path, leave_kb: int
) -> None:
    tool = MarketData(tmp_path / "root", simulate().url, {"DAGSTER_HOME": str(small_disk / "home")})
    filling = fill(small_disk, leave_kb=leave_kb)
    refused = tool.run(*LOAD)
    assert refused.returncode == 3, refused.stderr
    [line] = without_progress(refused.stderr).splitlines()
    assert line.startswith("error: the") and f"Dagster instance of {small_disk / 'home'}" in line

    filling.unlink()
    resumed = tool.run(*LOAD)
    assert resumed.returncode == 0, resumed.stderr
    assert rows_by_day(tool.root) == dict.fromkeys(["2024-05-01", "2024-05-02", "2024-05-03"], 1440)


def test_a_full_disk_under_the_log_is_a_warning_and_the_days_are_loaded(
    simulate: Simulate, tmp_path: Path, small_disk: Path
) -> None:
    logs = small_disk / "logs"
    logs.mkdir()
    fill(small_disk, leave_kb=0)
    loaded = MarketData(tmp_path / "root", simulate().url, {"LOG_DIR": str(logs)}).run(*LOAD)
    assert loaded.returncode == 0, loaded.stderr
    [line] = without_progress(loaded.stderr).splitlines()
    assert line.startswith(f"warning: {logs / 'loader.log'} cannot be written: ")
