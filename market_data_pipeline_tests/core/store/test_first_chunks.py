"""First chunks of several days are written to a bucket at once, and none takes the place of another."""

from datetime import date

import pytest

from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.store.chunks.files import NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.first import FirstChunks
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE, day, klines_of, whole
from market_data_pipeline_tests.places import ReadablePath, in_memory

DATASET = Dataset(Market.SPOT, "BTC/USDT", UTC_ZONE, date(2024, 3, 1))


def a_chunk(key: str) -> NewChunk:
    return new_chunk(DATASET, day(key), klines_of(whole(day(key))), [], source="rest")


ONE, OTHER = a_chunk("2024-03-05"), a_chunk("2024-03-06")


@pytest.fixture
def root() -> ReadablePath:
    return in_memory()


def test_chunks_that_were_begun_are_there_when_they_are_asked_for(root: ReadablePath) -> None:
    first = FirstChunks(storage_of(root))
    with first.begun([(root / "one", ONE), (root / "other", OTHER)]):
        for name, new in (("other", OTHER), ("one", ONE)):
            version = first.written(root / name, new)
            assert version == storage_of(root).version(root / name)
            assert (root / name).read_bytes() == new.content
    assert sorted(path.name for path in root.iterdir()) == ["one", "other"]


def test_a_chunk_alone_is_not_written_before_it_is_asked_for(root: ReadablePath) -> None:
    first = FirstChunks(storage_of(root))
    with first.begun([(root / "one", ONE)]):
        assert not (root / "one").exists()
        assert first.written(root / "one", ONE)
    assert (root / "one").read_bytes() == ONE.content


def test_a_chunk_that_another_process_has_written_stays(root: ReadablePath) -> None:
    (root / "one").write_bytes(b"of another")
    first = FirstChunks(storage_of(root))
    with first.begun([(root / "one", ONE), (root / "other", OTHER)]):
        assert first.written(root / "one", ONE) is None
        assert first.written(root / "other", OTHER)
    assert first.written(root / "one", ONE) is None
    assert (root / "one").read_bytes() == b"of another"


def test_a_chunk_that_was_made_anew_is_not_the_one_that_was_begun(root: ReadablePath) -> None:
    first = FirstChunks(storage_of(root))
    again = a_chunk("2024-03-05")
    with first.begun([(root / "one", ONE), (root / "other", OTHER)]):
        assert first.written(root / "other", OTHER)
        # The one that was begun is there, and only who asks for it is told that it is.
        assert first.written(root / "third", again)
    assert (root / "third").read_bytes() == again.content


def test_what_was_begun_is_forgotten_after_an_error(root: ReadablePath) -> None:
    first = FirstChunks(storage_of(root))
    with pytest.raises(KeyError), first.begun([(root / "one", ONE), (root / "other", OTHER)]):
        raise KeyError
    (root / "one").unlink()
    assert first.written(root / "one", ONE)
    assert (root / "one").read_bytes() == ONE.content
