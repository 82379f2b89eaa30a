"""Klines of the journal become part of their day's chunk, and change none that it has."""

from datetime import date

import pyarrow as pa
import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.fold import fold
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import FakeSource, changed, day, klines_of, span, whole

DAY = day("2024-03-05")
BEFORE, NEXT = span("2024-03-05", "2024-03-05T12:00Z"), span("2024-03-05T12:00Z", "2024-03-05T12:05Z")


@pytest.fixture
def live(made: DatasetStore) -> DatasetStore:
    """Loaded until noon."""
    list(backfill(made, FakeSource(now="2024-03-05T12:00:05Z"), whole(DAY)))
    return made


def test_minutes_that_the_chunk_lacks_are_added(live: DatasetStore) -> None:
    entry = fold(live, DAY, klines_of(NEXT))
    chunk = live.read(DAY)
    assert chunk.entry == entry == live.entries[DAY.key]
    assert chunk.klines.equals(klines_of(span("2024-03-05", "2024-03-05T12:05Z")))
    assert entry.source == "live+rest"
    assert [(absence.kind, absence.span) for absence in entry.absences] == [
        (Kind.OPEN, span("2024-03-05T12:05Z", "2024-03-06"))
    ]


def test_a_minute_that_the_chunk_has_stays_as_it_is(live: DatasetStore) -> None:
    other = changed(klines_of(span("2024-03-05T11:59Z", "2024-03-05T12:01Z")), "trades", 0, 77)
    fold(live, DAY, other)
    assert live.read(DAY).klines.equals(klines_of(span("2024-03-05", "2024-03-05T12:01Z")))


def test_klines_that_are_there_change_no_file(live: DatasetStore) -> None:
    before, entry = live.chunk_path(DAY).read_bytes(), live.entries[DAY.key]
    assert fold(live, DAY, klines_of(BEFORE)) == entry
    assert live.chunk_path(DAY).read_bytes() == before


def test_what_another_process_has_stored_meanwhile_is_kept(store: Store, live: DatasetStore) -> None:
    other = store.open(store.find(Market.SPOT, "BTC/USDT"))
    fold(other, DAY, klines_of(NEXT))
    after = span("2024-03-05T12:05Z", "2024-03-05T12:06Z")
    fold(live, DAY, klines_of(after))
    assert live.read(DAY).klines.equals(klines_of(span("2024-03-05", "2024-03-05T12:06Z")))


@pytest.mark.parametrize("klines", [klines_of(NEXT), klines_of(BEFORE)])
def test_a_day_without_an_intact_chunk_has_to_be_loaded(live: DatasetStore, klines: pa.Table) -> None:
    made = live.dataset
    assert made.start == date(2020, 1, 1)
    live.chunk_path(DAY).unlink()
    with pytest.raises(StoreError) as refused:
        fold(live, DAY, klines)
    assert str(refused.value) == ("the chunk of spot BTC/USDT 2024-03-05 is damaged or gone; a run has to load the day")
