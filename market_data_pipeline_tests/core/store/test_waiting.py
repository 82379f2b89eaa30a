"""Who waits for a lock says after some seconds for whom, and goes on once the lock is free."""

import logging
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.disk import waiting
from market_data_pipeline.core.store.disk.waiting import LockFile
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.support import MarketData, Simulate

HOLDER = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped there")
def test_a_writer_says_that_it_waits_for_a_process_that_is_stopped(tmp_path: Path) -> None:
    folder = Store(tmp_path).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=date(2024, 5, 1)).folder
    lock, run = f"{folder}/.lock", MarketData(tmp_path, "http://127.0.0.1:9")
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout and holder.stdout.readline()
            holder.send_signal(signal.SIGSTOP)
            with run.start("--market", "spot", "--pair", "BTC/USDT", "live", "--mark") as marking:
                line = marking.stderr.readline() if marking.stderr else ""
                holder.kill()
                _, more = marking.communicate(timeout=120)
        finally:
            holder.kill()
    what = f"process {holder.pid} holds it and is stopped; continue it (kill -CONT {holder.pid}) or end it"
    assert line == f"warning: waiting for the lock {lock}: {what}\n"
    assert (marking.returncode, more) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there it does not say which files a process has open")
def test_who_gives_up_has_said_for_whom_it_waited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_SAID_AFTER_S", 0.05)
    lock = tmp_path / "right.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout and holder.stdout.readline()
            with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
                LockFile(lock).acquire(timeout=0.2)
        finally:
            holder.kill()
    [said] = [each.getMessage() for each in caplog.records if each.name == waiting.__name__]
    what = f"process {holder.pid} holds it; wait for it, or end it if it hangs"
    assert said == f"waiting for the lock {lock}: {what}"


@pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped there")
def test_a_load_says_that_it_waits_for_the_lock_of_the_budget(tmp_path: Path, simulate: Simulate) -> None:
    run = MarketData(tmp_path / "root", simulate().url, {"XDG_STATE_HOME": str(tmp_path / "state")})
    spot = "--market", "spot", "--pair", "BTC/USDT", "backfill", "--source", "rest"
    assert run.run(*spot, "--start", "2024-05-01", "--end", "2024-05-02").returncode == 0
    [lock] = (tmp_path / "state").rglob("*_spot.lock")
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout and holder.stdout.readline()
            holder.send_signal(signal.SIGSTOP)
            with run.start(*spot, "--start", "2024-05-02", "--end", "2024-05-03") as loading:
                line = loading.stderr.readline() if loading.stderr else ""
                holder.kill()
                out, _ = loading.communicate(timeout=120)
        finally:
            holder.kill()
    assert line.startswith(f"warning: waiting for the lock {lock}: process {holder.pid} holds it and is stopped; ")
    assert loading.returncode == 0, out
