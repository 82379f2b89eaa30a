"""The start of a dataset in a bucket moves, and its chunks get other names, while other processes write them."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.loading.day import DayLoader
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome, Task
from market_data_pipeline.core.store import dataset_store
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.dataset_file import write_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import REST, UTC_ZONE, FakeSource, day, klines_of, whole
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request
from market_data_pipeline_tests.places import in_bucket

FIRST, EARLIER = date(2024, 3, 1), date(2024, 2, 28)
LISTED = "2024-03-01T00:00Z"
DAY = day("2024-03-05")
MORNING = Span(DAY.start_ms, DAY.start_ms + 600 * MINUTE_MS)
AFTERNOON = Span(MORNING.end_ms, DAY.end_ms)
OLD, NEW = "chunk_000005_2024-03-05.parquet", "chunk_000007_2024-03-05.parquet"


@pytest.fixture
def root(proxy: ObjectsProxy) -> Any:
    """The root of a dataset that has the morning of a day."""
    root = in_bucket()
    load(opened(root), MORNING)
    return root


def opened(root: Any) -> DatasetStore:
    """The dataset as another process opens it."""
    return Store(root, manifest_interval_s=0).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)


def load(store: DatasetStore, window: Span) -> None:
    [result] = backfill(store, FakeSource(first=LISTED), window)
    assert result.outcome in {Outcome.LOADED, Outcome.UNCHANGED}, result


def move(store: DatasetStore, start: date = EARLIER) -> None:
    store.note_requested(MORNING, start)


def once(of: Callable[[Request], bool], act: Callable[[], object]) -> Callable[[Request], bool]:
    """Act after the first of these requests was done, and before it is answered."""
    done: list[Request] = []

    def loses(request: Request) -> bool:
        if of(request) and not done:
            done.append(request)
            act()
        return False

    return loses


def require_whole(root: Any, proxy: ObjectsProxy, name: str = NEW) -> None:
    """One file of the day, with all of its minutes, as the manifest has it."""
    proxy.loses = lambda _: False
    store = opened(root)
    assert store.warnings == []
    paths = list((store.folder / "chunks").iterdir())
    assert [path.name for path in paths] == [name]
    assert store.read(DAY).klines.equals(klines_of(whole(DAY)))
    [listed] = json.loads((store.folder / "manifest.json").read_bytes())["chunks"]
    assert (listed["file"], listed["sha256"]) == (name, sha256_of(paths[0].read_bytes()))
    assert store.strangers() == []


WHERE = {
    "dataset.json is written": lambda request: request.method == "PUT" and request.key.endswith("dataset.json"),
    "the chunk is read": lambda request: request.method == "GET" and request.key.endswith(OLD),
    "the new name is written": lambda request: request.method == "PUT" and request.key.endswith(NEW),
    "the old name is removed": lambda request: request.method == "DELETE" and request.key.endswith(OLD),
    "the manifest is written": lambda request: request.method == "PUT" and request.key.endswith("manifest.json"),
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("who", ["one that knows the old start", "one that is opened now"])
def test_a_write_while_a_chunk_is_renamed_is_not_lost(root: Any, proxy: ObjectsProxy, where: str, who: str) -> None:
    mover, other = opened(root), opened(root)
    writer = (lambda: other) if "old" in who else (lambda: opened(root))
    proxy.loses = once(WHERE[where], lambda: load(writer(), AFTERNOON))
    move(mover)
    require_whole(root, proxy)


@pytest.mark.parametrize("where", ["the chunk is put", "the day is put"])
def test_a_start_that_moves_while_a_chunk_is_written_leaves_one_file(
    root: Any, proxy: ObjectsProxy, where: str
) -> None:
    writer = opened(root)
    if where == "the day is put":
        (writer.folder / "chunks" / OLD).unlink()
        (writer.folder / "manifest.json").unlink()
        writer = opened(root)
    proxy.loses = once(
        lambda request: request.method == "PUT" and request.key.endswith(OLD), lambda: move(opened(root))
    )
    load(writer, whole(DAY))
    require_whole(root, proxy)


def test_a_start_that_moves_while_a_chunk_is_taken_off_the_list_is_noticed(root: Any, proxy: ObjectsProxy) -> None:
    """The list is written after the name was chosen, and who writes it reads the new start."""
    writer, copied = opened(root), []
    chunks = writer.folder / "chunks"

    def begin_to_move() -> None:
        write_dataset(writer.folder, opened(root).dataset.starting_on(EARLIER))
        copied.append((chunks / OLD).read_bytes())

    def end_to_move() -> None:
        (chunks / NEW).write_bytes(copied[0])
        (chunks / OLD).unlink()

    begins = once(WHERE["the manifest is written"], begin_to_move)
    ends = once(lambda request: request.method == "PUT" and request.key.endswith(OLD), end_to_move)
    proxy.loses = lambda request: begins(request) or ends(request)
    load(writer, AFTERNOON)
    assert len(copied) == 1
    require_whole(root, proxy)


def test_a_writer_that_missed_a_renaming_makes_no_second_file(root: Any, proxy: ObjectsProxy) -> None:
    writer = opened(root)
    move(opened(root))
    load(writer, AFTERNOON)
    require_whole(root, proxy)


def test_a_chunk_that_is_renamed_while_it_is_looked_for_is_not_taken_for_damaged(proxy: ObjectsProxy) -> None:
    """By a writer that does not know the day yet: under the new name there is the same content with the same ETag."""
    root = in_bucket()
    writer = opened(root)
    writer.note_requested(AFTERNOON, FIRST)
    load(opened(root), MORNING)
    write_dataset(writer.folder, opened(root).dataset.starting_on(EARLIER))
    proxy.loses = once(
        lambda request: request.method == "HEAD" and request.key.endswith(OLD), lambda: move(opened(root))
    )
    loader = DayLoader(writer, FakeSource(first=LISTED).life(), DAY.end_ms)
    result = loader.load(FetchedDay(Task(DAY, (AFTERNOON,)), klines_of(AFTERNOON), REST))
    assert result.outcome is Outcome.LOADED, result.error
    writer.flush()
    require_whole(root, proxy)
    quarantine = writer.folder / "quarantine"
    assert storage_of(quarantine).names(quarantine) == []


def test_a_renaming_that_was_never_begun_is_done_by_whoever_writes_the_day(root: Any, proxy: ObjectsProxy) -> None:
    killed = opened(root)
    write_dataset(killed.folder, killed.dataset.starting_on(EARLIER))
    load(opened(root), AFTERNOON)
    require_whole(root, proxy)


def test_chunks_are_renamed_several_at_once(root: Any, proxy: ObjectsProxy) -> None:
    store = opened(root)
    load(store, Span(AFTERNOON.end_ms, AFTERNOON.end_ms + 60 * MINUTE_MS))
    both = threading.Barrier(2)

    def waits(request: Request) -> bool:
        if request.method == "PUT" and "/chunks/" in request.key:
            both.wait(30)
        return False

    proxy.loses = waits
    move(store)
    assert not both.broken
    names = [NEW, "chunk_000008_2024-03-06.parquet"]
    assert sorted(path.name for path in (store.folder / "chunks").iterdir()) == names
    assert [store.chunk_path(day(key)).name for key in ("2024-03-05", "2024-03-06")] == names


def test_what_a_renaming_left_that_was_killed_before_its_end_is_removed(root: Any, proxy: ObjectsProxy) -> None:
    chunks = opened(root).folder / "chunks"
    before = (chunks / OLD).read_bytes()
    load(opened(root), AFTERNOON)
    move(opened(root))
    (chunks / OLD).write_bytes(before)
    move(opened(root))
    require_whole(root, proxy)


def test_a_file_under_the_old_name_that_a_late_listing_shows_is_joined(root: Any, proxy: ObjectsProxy) -> None:
    """Another process had made the day's chunk under the new name, without what this one has."""
    chunks = opened(root).folder / "chunks"
    morning = (chunks / OLD).read_bytes()
    (chunks / OLD).unlink()
    (chunks.parent / "manifest.json").unlink()
    store = opened(root)
    write_dataset(store.folder, store.dataset.starting_on(EARLIER))
    [result] = backfill(opened(root), FakeSource(first=LISTED, missing=[MORNING], unproven=True), AFTERNOON)
    assert result.entry.rows == 840
    (chunks / OLD).write_bytes(morning)
    move(opened(root))
    require_whole(root, proxy)


def test_two_starts_that_move_at_once_leave_one_file(root: Any, proxy: ObjectsProxy) -> None:
    load(opened(root), AFTERNOON)
    earliest = date(2024, 2, 20)
    proxy.loses = once(
        lambda request: request.method == "GET" and request.key.endswith(OLD), lambda: move(opened(root), earliest)
    )
    move(opened(root))
    require_whole(root, proxy, "chunk_000015_2024-03-05.parquet")


@pytest.mark.parametrize("window", [MORNING, AFTERNOON])
def test_a_window_is_noted_after_the_start_has_moved_since_the_dataset_was_opened(
    root: Any, proxy: ObjectsProxy, window: Span
) -> None:
    writer = opened(root)
    move(opened(root))
    load(writer, window)
    assert (writer.dataset, writer.dataset.start) == (opened(root).dataset, EARLIER)
    assert writer.dataset.requested == (Span(MORNING.start_ms, window.end_ms),)
    load(writer, AFTERNOON)
    require_whole(root, proxy)


def test_live_is_noted_after_the_start_has_moved_since_the_dataset_was_opened(root: Any) -> None:
    writer = opened(root)
    move(opened(root))
    writer.mark_live(True)
    assert writer.dataset == opened(root).dataset == replace(writer.dataset, live=True, start=EARLIER)


def test_a_manifest_that_was_removed_since_the_dataset_was_opened_is_written_anew(root: Any) -> None:
    writer = opened(root)
    (writer.folder / "manifest.json").unlink()
    load(writer, AFTERNOON)
    [listed] = json.loads((writer.folder / "manifest.json").read_bytes())["chunks"]
    assert listed["sha256"] == sha256_of((writer.folder / "chunks" / OLD).read_bytes())


def test_a_window_is_noted_without_reading_what_the_opening_has_read(root: Any, proxy: ObjectsProxy) -> None:
    writer = opened(root)
    proxy.requests.clear()
    writer.note_requested(AFTERNOON, FIRST)
    assert [(request.method, request.key.rpartition("/")[2]) for request in proxy.requests] == [
        ("PUT", "dataset.json"),
        ("HEAD", "dataset.json"),
    ]


def test_the_folder_of_chunks_is_listed_once_for_what_belongs_to_no_chunk(root: Any, proxy: ObjectsProxy) -> None:
    store = opened(root)
    (store.folder / "chunks" / "notes.txt").write_bytes(b"-")
    proxy.requests.clear()
    assert [path.name for path in store.strangers()] == ["notes.txt"]
    assert len([request for request in proxy.requests if "chunks" in request.query]) == 1


def test_a_window_of_a_dataset_whose_file_was_moved_away_since_it_was_opened_is_not_loaded(root: Any) -> None:
    writer = opened(root)
    (writer.folder / "dataset.json").unlink()
    with pytest.raises(StoreError, match=r"dataset.json is missing; restore it"):
        writer.note_requested(MORNING, FIRST)
    assert not storage_of(root).is_file(writer.folder / "dataset.json")


def test_what_was_read_long_before_a_window_is_noted_is_read_again(
    root: Any, proxy: ObjectsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_store, "_MOMENT_S", 0.0)
    writer = opened(root)
    [result] = backfill(opened(root), FakeSource(first=LISTED), whole(day("2024-03-06")))
    writer.note_requested(MORNING, FIRST)
    assert result.day.key in writer.entries


def test_chunks_that_another_process_renamed_since_the_dataset_was_opened_are_not_renamed_again(
    root: Any, proxy: ObjectsProxy
) -> None:
    write_dataset(opened(root).folder, opened(root).dataset.starting_on(EARLIER))
    writer = opened(root)
    move(opened(root))
    proxy.requests.clear()
    move(writer)
    assert not [request for request in proxy.requests if request.key.endswith(OLD)]
    load(writer, AFTERNOON)
    require_whole(root, proxy)
