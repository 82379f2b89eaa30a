"""Files that another process has open, or is just replacing: Windows refuses then what other systems allow."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import refusal_of_disk

OLD, NEW = b"old" * 1000, b"new" * 1000
READER = """
import sys, time
with open(sys.argv[1], "rb") as file:
    print("open", flush=True)
    time.sleep(float(sys.argv[2]))
"""
WRITER = """
import pathlib, sys
from market_data_pipeline.core.store.storage.places import storage_of
path = pathlib.Path(sys.argv[1])
for number in range(int(sys.argv[2])):
    storage_of(path).write(path, bytes([number % 256]) * 1000)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    made = tmp_path / "file"
    made.write_bytes(OLD)
    return made


@contextmanager
def open_elsewhere(path: Path, for_s: float = 0.5) -> Iterator[None]:
    """Another process has the file open, for so long."""
    words = [sys.executable, "-c", READER, str(path), str(for_s)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "open\n"
        yield


def test_what_someone_reads_is_replaced_once_he_is_done(path: Path) -> None:
    with open_elsewhere(path):
        storage_of(path).write(path, NEW)
        assert path.read_bytes() == NEW


def test_what_someone_reads_is_renamed_over_once_he_is_done(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(NEW)
    with open_elsewhere(path):
        storage_of(path).move(other, path)
        assert path.read_bytes() == NEW


def test_what_someone_reads_is_removed_once_he_is_done(path: Path) -> None:
    with open_elsewhere(path):
        storage_of(path).remove(path)
        assert not path.exists()


@pytest.mark.slow
@pytest.mark.skipif("os.name != 'nt'", reason="other systems replace what someone reads")
def test_what_someone_goes_on_reading_is_named_with_what_helps(path: Path) -> None:
    with open_elsewhere(path, for_s=10), pytest.raises(PermissionError) as refused:
        storage_of(path).write(path, NEW)
    assert refusal_of_disk(refused.value).partition(": ")[2] == (
        f"{path}; close the program that has it open, or check that you may write there"
    )
    assert path.read_bytes() == OLD


def test_what_is_replaced_all_the_time_can_be_read_at_any_moment(path: Path) -> None:
    storage_of(path).write(path, b"\0" * 1000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), "300"]) as writer:
        while writer.poll() is None:
            read = storage_of(path).read(path, 10_000)
            with storage_of(path).open(path) as file:
                also = file.read()
            assert [(len(each), len(set(each))) for each in (read, also)] == [(1000, 1)] * 2
            # Whoever reads without a pause lets nobody replace it.
            time.sleep(random.uniform(0, 0.01))
    assert writer.returncode == 0


def test_a_folder_in_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    for read in (lambda: storage_of(tmp_path).read(tmp_path, 10), lambda: storage_of(tmp_path).open(tmp_path)):
        with pytest.raises(ValueError, match="it is no file"):
            read()
