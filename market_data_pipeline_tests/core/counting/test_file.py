"""The counts of several processes in one file: they add up, whatever becomes of the processes and of the file."""

import subprocess
import sys
from pathlib import Path

import pytest

from market_data_pipeline.core.counting.file import counts_in
from market_data_pipeline_tests.support import CHECKOUT, wait_until

LOADED = ("market_data_days_loaded_total", "spot", "rest")
PUBLISHED = "market_data_store_seconds"
_PROGRAM = """
import sys, time
from pathlib import Path
from market_data_pipeline.core.counting.counts import DAYS_LOADED, STORE
from market_data_pipeline.core.counting.file import keep_counts
keep_counts(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    DAYS_LOADED.add("spot", "rest")
STORE.note(0.003, "publish")
time.sleep(float(sys.argv[3]))
"""


def process(folder: Path, days: int, rest_s: float = 0) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, str(folder), str(days), str(rest_s)], cwd=CHECKOUT)


def ended(*processes: "subprocess.Popen[bytes]") -> None:
    for each in processes:
        assert each.wait(60) == 0


def test_without_a_process_there_are_no_counts(tmp_path: Path) -> None:
    assert counts_in(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_processes_add_up_also_after_their_end(tmp_path: Path) -> None:
    ended(*[process(tmp_path, days) for days in (1, 20, 300)])
    ended(process(tmp_path, 4000))
    counts = counts_in(tmp_path)
    assert counts[LOADED] == 4321
    assert counts[f"{PUBLISHED}_bucket", "publish", "0.005"] == 4
    assert counts[f"{PUBLISHED}_sum", "publish"] == pytest.approx(0.012)
    assert [path.name for path in tmp_path.iterdir()] == ["counts.sqlite"]


def test_a_process_that_goes_on_adds_while_it_does_and_a_kill_takes_nothing_twice(tmp_path: Path) -> None:
    with process(tmp_path, 7, rest_s=120) as going_on:
        wait_until(lambda: LOADED in counts_in(tmp_path))
        going_on.kill()
    ended(process(tmp_path, 1))
    assert counts_in(tmp_path)[LOADED] == 8


def test_a_damaged_file_is_no_error_and_counts_begin_at_zero(tmp_path: Path) -> None:
    (tmp_path / "counts.sqlite").write_bytes(b"no database, but longer than a header of one" * 100)
    assert counts_in(tmp_path) == {}
    ended(process(tmp_path, 3))
    assert counts_in(tmp_path)[LOADED] == 3


def test_where_the_file_cannot_be_written_a_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "counts.sqlite").mkdir()
    ended(process(tmp_path, 3))
    assert counts_in(tmp_path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_process_counts_for_itself(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from market_data_pipeline.core.counting.counts import DAYS_LOADED
from market_data_pipeline.core.counting.file import keep_counts
DAYS_LOADED.add("spot", "rest", by=10)
child = os.fork()
keep_counts(Path(sys.argv[1]))
DAYS_LOADED.add("spot", "rest", by=1 if child else 100)
if child:
    sys.exit(os.waitpid(child, 0)[1])
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=CHECKOUT, check=True, timeout=60)
    assert counts_in(tmp_path)[LOADED] == 111


def test_a_folder_that_was_removed_meanwhile_is_no_fault(tmp_path: Path) -> None:
    program = """
import logging, sys
from pathlib import Path
from market_data_pipeline.core.counting.counts import DAYS_LOADED
from market_data_pipeline.core.counting.file import keep_counts
logging.basicConfig()
folder = Path(sys.argv[1])
keep_counts(folder)
DAYS_LOADED.add("spot", "rest")
folder.rmdir()
"""
    folder = tmp_path / "logs"
    folder.mkdir()
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr == ""
    assert not folder.exists()
