"""A chunk file is hashed once; any change that its time, size or inode shows makes it be hashed again."""

import os
import time
from pathlib import Path

import pytest

from market_data_pipeline.core.store.atomic import sha256_of, stamp_of, write_whole
from market_data_pipeline.core.store.chunks import hashes
from market_data_pipeline.core.store.chunks.hashes import ChunkHashes

DAY = "2024-03-05"


@pytest.fixture
def hashed(monkeypatch) -> list[bytes]:
    """What was hashed, in order."""
    contents: list[bytes] = []

    def count(content: bytes) -> str:
        contents.append(content)
        return sha256_of(content)

    monkeypatch.setattr(hashes, "sha256_of", count)
    return contents


def aged(path: Path, content: bytes, *, seconds: float = 60) -> Path:
    """The file, written so long ago."""
    path.write_bytes(content)
    at = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(at, at))
    return path


def test_an_unchanged_file_is_hashed_once(tmp_path, hashed):
    path, known = aged(tmp_path / "chunk", b"one"), ChunkHashes()
    for _ in range(3):
        assert known.of(DAY, path) == sha256_of(b"one")
        assert known.read(DAY, path) == (b"one", sha256_of(b"one"))
    assert hashed == [b"one"]


def test_other_bytes_of_the_same_size_are_hashed_again(tmp_path, hashed):
    path, known = aged(tmp_path / "chunk", b"one"), ChunkHashes()
    known.of(DAY, path)
    aged(path, b"two", seconds=30)
    assert known.of(DAY, path) == sha256_of(b"two")
    assert known.read(DAY, path) == (b"two", sha256_of(b"two"))
    assert hashed == [b"one", b"two"]


def test_a_file_that_was_replaced_within_the_same_time_and_size_is_hashed_again(tmp_path):
    path, known = aged(tmp_path / "chunk", b"one"), ChunkHashes()
    known.of(DAY, path)
    stat = path.stat()
    write_whole(path, b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert known.of(DAY, path) == sha256_of(b"two")


def test_a_file_that_is_young_is_hashed_at_each_look(tmp_path):
    """Its next change may leave its time as it is."""
    path, known = aged(tmp_path / "chunk", b"one", seconds=0), ChunkHashes()
    known.note_written(DAY, stamp_of(path), sha256_of(b"one"))
    known.of(DAY, path)
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert known.of(DAY, path) == sha256_of(b"two")


def test_a_file_that_was_noted_is_unchanged_until_its_stamp_changes(tmp_path):
    path, known = aged(tmp_path / "chunk", b"one"), ChunkHashes()
    known.note_written(DAY, stamp_of(path), sha256_of(b"one"))
    assert known.unchanged([(DAY, path, sha256_of(b"one"))]) == {DAY}
    assert not known.unchanged([(DAY, path, sha256_of(b"two"))])
    aged(path, b"one", seconds=30)
    assert not known.unchanged([(DAY, path, sha256_of(b"one"))])
    path.unlink()
    assert not known.unchanged([(DAY, path, sha256_of(b"one"))])


def test_a_file_that_is_gone_has_no_hash(tmp_path):
    path, known = aged(tmp_path / "chunk", b"one"), ChunkHashes()
    known.of(DAY, path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        known.of(DAY, path)
