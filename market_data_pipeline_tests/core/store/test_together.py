"""Several chunks at once, versions of many files, and work that is begun ahead: the same as one after the other."""

from datetime import date

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.chunks.files import NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.replacing import Overtaken
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE, klines_of, span, whole

FIRST = date(2024, 3, 1)
DAYS = [f"2024-03-{number:02d}" for number in range(1, 21)]
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")


@pytest.fixture
def made(store) -> DatasetStore:
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    made.note_requested(span("2024-03-01", "2024-03-21"), FIRST)
    return made


def chunk(of: DatasetStore, key: str, **klines) -> NewChunk:
    on = of.dataset.day(key)
    absences = [Absence(Kind.OUTAGE, gap) for gap in klines.get("without", [])]
    return new_chunk(of.dataset, on, klines_of(whole(on), **klines), absences, source="rest")


def test_days_that_are_published_together_are_there_as_if_one_came_after_the_other(store, made):
    new = [chunk(made, key) for key in DAYS]
    with made.together(new):
        entries = [made.publish(each) for each in new]
    made.flush()
    assert entries == [each.chunk.entry for each in new]
    other = store.open(made.dataset)
    assert list(other.entries.values()) == entries
    assert all(made.read(each.day).klines.equals(each.chunk.klines) for each in new)
    assert other.warnings == []


def test_what_was_published_meanwhile_is_kept_by_days_that_are_published_together(store, made):
    """This object has not seen the whole chunk of another one, and its own lacks minutes."""
    better = store.open(made.dataset).publish(chunk(made, "2024-03-05"))
    new = [chunk(made, "2024-03-04"), chunk(made, "2024-03-05", without=[HALT]), chunk(made, "2024-03-06")]
    with made.together(new):
        made.publish(new[0])
        with pytest.raises(Overtaken, match="keeps its chunk"):
            made.publish(new[1])
        made.publish(new[2])
    made.flush()
    assert made.read(made.dataset.day("2024-03-05")).entry == better
    assert sorted(store.open(made.dataset).entries) == ["2024-03-04", "2024-03-05", "2024-03-06"]


def test_what_was_begun_and_not_published_is_adopted_by_the_next_opening(store, made):
    new = [chunk(made, key) for key in DAYS[:3]]
    with pytest.raises(KeyboardInterrupt), made.together(new):
        made.publish(new[0])
        raise KeyboardInterrupt
    other = store.open(made.dataset)
    assert {"2024-03-01"} <= other.entries.keys() <= set(DAYS[:3])
    assert all(other.is_intact(other.dataset.day(key)) for key in other.entries)


def test_a_chunk_is_kept_unread_only_where_its_version_proves_it_and_only_until_it_changes(root, made):
    days = [made.dataset.day(key) for key in DAYS]
    for key in DAYS:
        made.publish(chunk(made, key))
    proves = storage_of(root).is_conditional
    assert made.kept(days) == (set(DAYS) if proves else set())
    storage_of(root).write(made.chunk_path(days[3]), b"damaged")
    storage_of(root).remove(made.chunk_path(days[4]))
    assert made.kept(days) == ({*DAYS} - {DAYS[3], DAYS[4]} if proves else set())


@pytest.mark.parametrize("count", [1, 3, 30])
def test_versions_of_many_files_are_those_of_each(root, count):
    files, folder = storage_of(root), root / "folder"
    files.make_folder(folder)
    paths = [folder / f"file{number:02d}" for number in range(count)]
    for number, path in enumerate(paths):
        files.write(path, b"content" * (number + 1))
    paths.insert(1, folder / "absent")
    assert files.versions(paths) == [files.version(path) for path in paths]
    found = [version for version in files.versions(paths) if version]
    assert [version.size_bytes for version in found] == [7 * (number + 1) for number in range(count)]
    assert files.versions([]) == []


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_order_and_no_more_is_begun_than_was_said(threads):
    taken: list[int] = []

    def numbers():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda number: number * 2, numbers(), threads=threads, ahead=8)
    assert next(results) == 0
    assert len(taken) <= 9
    assert list(results) == [number * 2 for number in range(1, 100)]


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_of_the_work_reaches_the_caller_in_its_turn(threads):
    results = in_order(lambda number: 1 // (2 - number), range(10), threads=threads)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
