"""Who may put a chunk in place of another, and what a user is told otherwise."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.chunks.files import NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.replacing import Overtaken
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import changed, day, klines_of, span, whole

FIRST = date(2024, 3, 1)
DAY = day("2024-03-05")
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")
LONGER_HALT = span("2024-03-05T03:00Z", "2024-03-05T05:30Z")
GOES_ON = "spot BTC/USDT 2024-03-05: another process goes on writing its chunk"


@pytest.fixture
def dataset_store(made: DatasetStore) -> DatasetStore:
    made.note_requested(span("2024-03-01", "2024-03-10"), FIRST)
    return made


def a_chunk(
    of: DatasetStore, *, without: Iterable[Span] = (), source: str = "rest", based_on: str | None = None
) -> NewChunk:
    absences = [Absence(Kind.OUTAGE, gap) for gap in without]
    klines = klines_of(whole(DAY), without=without)
    return new_chunk(of.dataset, DAY, klines, absences, source=source, based_on=based_on)


def opened(root: Any) -> DatasetStore:
    """The dataset as another process would open it."""
    store = Store(root, manifest_interval_s=3600)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def test_a_chunk_that_keeps_klines_of_another_than_the_stored_one_is_refused(dataset_store: DatasetStore) -> None:
    stored = dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    with pytest.raises(Overtaken) as refused:
        dataset_store.publish(a_chunk(dataset_store, based_on="0" * 64))
    assert (str(refused.value), refused.value.refused) == (GOES_ON, None)
    assert dataset_store.entries[DAY.key] == stored
    assert dataset_store.publish(a_chunk(dataset_store, based_on=stored.sha256)).rows == 1440


def test_after_a_refusal_the_chunk_of_the_other_process_is_known(root: Any, dataset_store: DatasetStore) -> None:
    dataset_store.publish(a_chunk(dataset_store, without=[LONGER_HALT]))
    better = opened(root).publish(a_chunk(dataset_store, without=[HALT]))
    with pytest.raises(Overtaken, match="another process goes on writing"):
        dataset_store.publish(a_chunk(dataset_store, based_on="0" * 64))
    assert dataset_store.entries[DAY.key] == better
    trusted = dataset_store.trusted(DAY)
    assert trusted is not None
    assert trusted.entry == better


def test_a_listed_chunk_that_is_gone_is_written_again(root: Any, dataset_store: DatasetStore) -> None:
    dataset_store.publish(a_chunk(dataset_store))
    dataset_store.flush()
    dataset_store.chunk_path(DAY).unlink()
    again = opened(root)
    assert list(again.entries) == [DAY.key]
    mended = again.publish(a_chunk(again, source="archive"))
    assert again.is_intact(DAY)
    assert opened(root).entries == {DAY.key: mended}


def test_a_chunk_with_an_older_name_gets_the_one_that_follows_from_the_start(
    root: Any, dataset_store: DatasetStore
) -> None:
    dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    dataset_store.flush()
    other = opened(root)
    dataset_store.note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    other.publish(a_chunk(other))
    chunks = dataset_store.folder / "chunks"
    assert [path.name for path in chunks.iterdir()] == ["chunk_000034_2024-03-05.parquet"]
    assert opened(root).read(DAY).entry.rows == 1440


def test_a_revision_is_noted_and_logged(dataset_store: DatasetStore, caplog: pytest.LogCaptureFixture) -> None:
    dataset_store.publish(a_chunk(dataset_store))
    klines = changed(klines_of(whole(DAY)), "trades", 7, 99)
    dataset_store.publish(new_chunk(dataset_store.dataset, DAY, klines, [], source="rest"))
    assert dataset_store.revised[DAY.key].fields == ("trades",)
    assert [record.getMessage() for record in caplog.records] == [
        "spot BTC/USDT 2024-03-05 revised: trades of 1 minutes"
    ]


def test_equal_klines_of_another_source_change_no_file(dataset_store: DatasetStore) -> None:
    stored = dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    before = dataset_store.chunk_path(DAY).read_bytes()
    assert dataset_store.publish(a_chunk(dataset_store, without=[HALT], source="archive")) == stored
    assert dataset_store.chunk_path(DAY).read_bytes() == before
    assert dataset_store.revised == {}


def test_a_damaged_chunk_is_replaced_and_a_copy_of_it_kept(dataset_store: DatasetStore) -> None:
    dataset_store.publish(a_chunk(dataset_store))
    path = dataset_store.chunk_path(DAY)
    path.write_bytes(b"damaged")
    dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    assert (dataset_store.folder / "quarantine" / path.name).read_bytes() == b"damaged"
    assert dataset_store.read(DAY).entry.rows == 1350


def test_days_that_are_published_together_are_there_after_the_block(root: Any, dataset_store: DatasetStore) -> None:
    keys = ["2024-03-05", "2024-03-06", "2024-03-07"]
    new = [new_chunk(dataset_store.dataset, day(key), klines_of(whole(day(key))), [], source="rest") for key in keys]
    with dataset_store.together(new):
        entries = {each.day.key: dataset_store.publish(each) for each in new}
    dataset_store.flush()
    assert opened(root).entries == entries
    with dataset_store.together(new):
        assert {each.day.key: dataset_store.publish(each) for each in new} == entries
