"""A lock with a note: one holder at a time, who it is, and what a killed one leaves behind."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline_tests.core.store.conftest import in_a_folder


def test_a_second_holder_is_refused_and_reads_who_the_first_one_is(root: Any) -> None:
    first, second = NoteLock(root, ".live", "first"), NoteLock(root, ".live", "second")
    assert first.acquire() and not first.holder_was_killed
    assert not second.acquire()
    assert second.holder().startswith(f"first (process {os.getpid()} on {socket.gethostname()}, since ")
    second.release()
    assert not second.acquire(), "only the holder releases the lock"
    first.release()
    assert not (root / ".live.json").exists()
    assert second.acquire() and not second.holder_was_killed
    assert json.loads((root / ".live.json").read_bytes())["who"] == "second"
    second.release()


def test_a_note_that_cannot_be_read_leaves_the_holder_unnamed(root: Any) -> None:
    first, second = NoteLock(root, ".live", "first"), NoteLock(root, ".live", "second")
    assert first.acquire()
    (root / ".live.json").write_bytes(b"{")
    assert not second.acquire()
    assert second.holder() == "another process"
    first.release()


@in_a_folder
def test_a_lock_is_free_though_its_note_cannot_be_removed(root: Any) -> None:
    first, second = NoteLock(root, ".live", "first"), NoteLock(root, ".live", "second")
    assert first.acquire()
    (root / ".live.json").unlink()
    (root / ".live.json").mkdir()
    with pytest.raises(OSError, match="live"):
        first.release()
    assert second.acquire()
    second.release()


@in_a_folder
def test_a_killed_holder_frees_the_lock_and_is_noticed(root: Any) -> None:
    program = f"""
import os, pathlib
from market_data_pipeline.core.store.note_lock import NoteLock
from market_data_pipeline_tests.core.store.conftest import in_a_folder
assert NoteLock(pathlib.Path({str(root)!r}), ".up", "killed").acquire()
os._exit(1)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 1
    lock = NoteLock(root, ".up", "next")
    assert lock.acquire() and lock.holder_was_killed
    lock.release()
