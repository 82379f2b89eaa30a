"""What was published is there to the byte, whoever else writes and wherever a process is killed."""

import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import BadAnswer, StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, parse_zone
from market_data_pipeline.core.klines.table import column, open_times
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks import hashes
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES, Footer, encode
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.disk import calls
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline_tests.core.fakes import UTC_ZONE, day, klines_of, span, whole
from market_data_pipeline_tests.core.store.conftest import SHARED_PLACES, in_a_folder
from market_data_pipeline_tests.core.store.test_moving_starts import once
from market_data_pipeline_tests.objects_proxy import Request
from market_data_pipeline_tests.places import in_bucket, root_of

FIRST = date(2024, 3, 1)
WINDOW = span("2024-03-01", "2024-03-10")
DAY = day("2024-03-05")
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")
LONGER_HALT = span("2024-03-05T03:00Z", "2024-03-05T05:30Z")
OTHER_HALT = span("2024-03-05T20:00Z", "2024-03-05T21:00Z")


@pytest.fixture
def dataset_store(made) -> DatasetStore:
    made.note_requested(WINDOW, FIRST)
    return made


def publish(into: DatasetStore, key: str, *, without: Iterable[Span] = (), source: str = "rest") -> Entry:
    on = into.dataset.day(key)
    absences = [Absence(Kind.OUTAGE, gap) for gap in without]
    return into.publish(new_chunk(into.dataset, on, klines_of(whole(on), without=without), absences, source=source))


def opened(root: Path, *, manifest_interval_s: float = 3600) -> DatasetStore:
    """The dataset as another process would open it."""
    store = Store(root, manifest_interval_s=manifest_interval_s)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def manifest_of(of: DatasetStore) -> Path:
    return of.folder / "manifest.json"


def listed(of: DatasetStore) -> list[str]:
    """The days that the manifest on disk lists."""
    return [chunk["day"] for chunk in json.loads(manifest_of(of).read_bytes())["chunks"]]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tell_no_lie(of: DatasetStore) -> bool:
    """True if every chunk that is vouched for is what its entry says."""
    return all(of.is_intact(of.dataset.day(key)) for key in of.entries)


# --- one writer


def test_a_published_day_is_read_back(dataset_store):
    entry = publish(dataset_store, DAY.key, without=[HALT])
    chunk = dataset_store.read(DAY)
    assert chunk.klines.equals(klines_of(whole(DAY), without=[HALT]))
    assert chunk.entry == entry == dataset_store.entries[DAY.key]
    assert chunk.footer.absences == entry.absences == (Absence(Kind.OUTAGE, HALT),)


@in_a_folder
@pytest.mark.skipif(os.name == "nt", reason="Windows syncs no folder")
def test_the_name_of_a_chunk_is_on_disk_before_anyone_is_told_of_it(dataset_store):
    made: list[calls.Call] = []
    with calls.told(made.append):
        publish(dataset_store, DAY.key)
    assert (calls.Kind.FOLDER_SYNCED, "chunks") in [(call.kind, call.path.name) for call in made]


def test_an_entry_says_what_the_chunk_is(dataset_store):
    entry = publish(dataset_store, DAY.key, without=[HALT])
    content = (dataset_store.folder / "chunks" / "chunk_000005_2024-03-05.parquet").read_bytes()
    assert (entry.rows, entry.expected_rows, entry.complete) == (1350, 1440, True)
    assert (entry.first_open_time, entry.last_open_time) == (DAY.start_ms, DAY.end_ms - MINUTE_MS)
    assert (entry.size_bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert entry.minutes_absent(Kind.OUTAGE) == 90


def test_a_day_with_minutes_still_to_come_is_not_complete(dataset_store):
    entry = dataset_store.publish(
        new_chunk(
            dataset_store.dataset, DAY, klines_of(whole(DAY), without=[HALT]), [Absence(Kind.OPEN, HALT)], source="rest"
        )
    )
    assert not entry.complete


def test_a_day_without_a_single_kline_can_be_published(dataset_store):
    entry = publish(dataset_store, DAY.key, without=[whole(DAY)])
    assert (entry.rows, entry.first_open_time, entry.last_open_time) == (0, None, None)
    assert dataset_store.is_intact(DAY)


def test_a_manifest_has_for_each_chunk_what_the_readme_promises(dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    dataset_store.flush()
    [chunk] = json.loads(manifest_of(dataset_store).read_bytes())["chunks"]
    assert list(chunk) == [
        "index", "day", "file", "rows", "expected_rows", "first_open_time", "last_open_time", "complete", "absences",
        "source", "state", "bytes", "sha256",
    ]  # fmt: skip
    assert (chunk["index"], chunk["file"]) == (5, "chunk_000005_2024-03-05.parquet")


@pytest.mark.parametrize(
    ("klines", "absences"),
    [
        (klines_of(whole(DAY), without=[HALT]), []),
        (klines_of(whole(DAY)), [Absence(Kind.OUTAGE, HALT)]),
        (klines_of(whole(day("2024-03-06"))), []),
        (klines_of(whole(DAY)).drop_columns(["ignore"]), []),
    ],
    ids=["an absence without a reason", "a false absence", "another day", "a column less"],
)
def test_what_breaks_a_rule_never_becomes_visible(dataset_store, klines, absences):
    with pytest.raises(BadAnswer, match=r"spot BTC/USDT 2024-03-05 was not stored"):
        dataset_store.publish(new_chunk(dataset_store.dataset, DAY, klines, absences, source="rest"))
    assert files_in(dataset_store.folder / "chunks") == []
    assert DAY.key not in dataset_store.entries


def test_nothing_is_written_by_opening(root, store):
    store.open(Dataset(Market.SPOT, "ETH/USDT", UTC_ZONE, FIRST))
    assert files_in(root) == []


def test_equal_klines_make_equal_files_and_equal_manifests(root):
    contents = []
    for name in ("one", "two"):
        made = Store(root / name).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
        made.note_requested(WINDOW, FIRST)
        for key in ("2024-03-05", "2024-03-04"):
            publish(made, key)
        made.flush()
        contents.append({path.name: path.read_bytes() for path in made.folder.glob("**/*.*") if path.name != ".lock"})
    assert contents[0] == contents[1]


def test_the_manifest_is_written_no_sooner_than_its_interval(root):
    for interval_s, written in ((3600, False), (0, True)):
        store = Store(root / str(interval_s), manifest_interval_s=interval_s)
        made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
        made.note_requested(WINDOW, FIRST)
        publish(made, DAY.key)
        assert manifest_of(made).exists() is written


def test_a_flush_lists_everything_and_a_second_one_writes_nothing(dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    assert listed(dataset_store) == [DAY.key]
    path = manifest_of(dataset_store)
    before = storage_of(path).version(path)
    dataset_store.flush()
    assert storage_of(path).version(path) == before


# --- a chunk never gives way to a worse one


def test_a_chunk_is_replaced_by_one_with_more_minutes(root, dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    publish(dataset_store, DAY.key)
    assert dataset_store.read(DAY).entry.rows == 1440
    assert opened(root).entries[DAY.key].rows == 1440


@pytest.mark.parametrize("without", [LONGER_HALT, OTHER_HALT], ids=["fewer minutes", "other minutes"])
def test_a_chunk_is_not_replaced_by_one_that_lacks_a_minute_of_it(dataset_store, without):
    entry = publish(dataset_store, DAY.key, without=[HALT])
    with pytest.raises(StoreError, match="keeps its chunk: the exchange now lacks"):
        publish(dataset_store, DAY.key, without=[without])
    assert dataset_store.read(DAY).entry == entry == dataset_store.entries[DAY.key]


def test_a_chunk_is_not_replaced_by_a_worse_one_even_if_another_process_wrote_it(root, dataset_store):
    publish(dataset_store, DAY.key, without=[LONGER_HALT])
    other = opened(root)
    publish(other, DAY.key)
    with pytest.raises(StoreError, match="keeps its chunk"):
        publish(dataset_store, DAY.key, without=[HALT])
    assert opened(root).entries[DAY.key].rows == 1440


def test_a_damaged_chunk_may_be_replaced_by_anything_good(dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.chunk_path(DAY).write_bytes(b"no longer Parquet")
    assert not dataset_store.is_intact(DAY)
    publish(dataset_store, DAY.key, without=[HALT])
    assert dataset_store.is_intact(DAY)


def test_a_chunk_that_was_made_from_another_than_the_stored_one_is_refused_in_one_line(dataset_store):
    stored = publish(dataset_store, DAY.key, without=[HALT])
    klines = klines_of(whole(DAY))
    new = new_chunk(dataset_store.dataset, DAY, klines, [], source="rest", based_on="0" * 64)
    with pytest.raises(StoreError) as refused:
        dataset_store.publish(new)
    assert str(refused.value) == "spot BTC/USDT 2024-03-05: another process goes on writing its chunk"
    assert dataset_store.entries[DAY.key] == stored


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_chunk_is_known_without_being_decoded_by_who_has_just_written_it(dataset_store, is_kept):
    publish(dataset_store, DAY.key, without=[HALT])
    klines = klines_of(whole(DAY), without=[HALT])
    assert dataset_store.read_written(DAY, klines, is_kept=is_kept) == dataset_store.read(DAY)


# --- the manifest can be rebuilt, and forgets nothing


def test_a_deleted_manifest_is_rebuilt_to_the_byte(root, dataset_store):
    for key in ("2024-03-02", "2024-03-05", "2024-03-03"):
        publish(dataset_store, key, without=[HALT] if key == DAY.key else [])
    dataset_store.flush()
    before = manifest_of(dataset_store).read_bytes()
    manifest_of(dataset_store).unlink()
    opened(root).flush()
    assert manifest_of(dataset_store).read_bytes() == before


def test_what_a_newer_version_lists_is_neither_used_nor_taken_for_damage(root, dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    manifest = manifest_of(dataset_store)
    manifest.write_bytes(manifest.read_bytes().replace(b'"format": 1', b'"format": 2'))
    for look in (lambda: opened(root), dataset_store.refresh, dataset_store.strangers):
        with pytest.raises(StoreError, match="a newer version of market-data wrote it; update market-data"):
            look()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe\x00", b'{"format": 0, "chunks": []}', b'{"format": 1}',
     b'{"format": 1, "chunks": [{}]}', b'{"format": 1, "chunks": [7]}', b'{"format": 1, "chunks": 7}', "half"],
)  # fmt: skip
def test_a_corrupt_manifest_is_reported_and_rebuilt_to_the_byte(root, dataset_store, content):
    publish(dataset_store, DAY.key, without=[HALT])
    dataset_store.flush()
    before = manifest_of(dataset_store).read_bytes()
    manifest_of(dataset_store).write_bytes(before[: len(before) // 2] if content == "half" else content)
    again = opened(root)
    [warning] = again.warnings
    assert str(manifest_of(dataset_store)) in warning
    assert "rebuilt from the chunks" in warning
    assert "\n" not in warning
    again.flush()
    assert manifest_of(dataset_store).read_bytes() == before
    assert opened(root).warnings == []


def test_a_manifest_that_lists_an_impossible_day_is_corrupt(root, dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    damaged = manifest_of(dataset_store).read_text().replace('"day":"2024-03-05"', '"day":"2024-33-05"')
    manifest_of(dataset_store).write_text(damaged)
    again = opened(root)
    assert "is corrupt" in again.warnings[0]
    assert list(again.entries) == [DAY.key]


def test_a_listed_chunk_that_is_gone_stays_listed(root, dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    dataset_store.chunk_path(DAY).unlink()
    again = opened(root)
    publish(again, "2024-03-06")
    again.flush()
    assert listed(again) == [DAY.key, "2024-03-06"]
    assert not again.is_intact(DAY)
    with pytest.raises(StoreError, match=r"chunk_000005_2024-03-05\.parquet is missing"):
        again.read(DAY)


def test_a_listed_chunk_that_is_gone_stays_listed_though_the_manifest_vanished_meanwhile(root, dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    dataset_store.chunk_path(DAY).unlink()
    again = opened(root)
    manifest_of(again).unlink()
    publish(again, "2024-03-06")
    again.flush()
    assert listed(again) == [DAY.key, "2024-03-06"]


def test_a_chunk_that_no_manifest_lists_is_adopted(root, dataset_store):
    entry = publish(dataset_store, DAY.key, without=[HALT])
    again = opened(root)
    assert again.entries == {DAY.key: entry}
    assert again.warnings == []
    again.flush()
    assert listed(again) == [DAY.key]


def chunk_saying(
    key: str = DAY.key, pair: str = "BTC/USDT", tz: str = "UTC", absences: tuple[Absence, ...] = ()
) -> bytes:
    return encode(klines_of(whole(DAY)), Footer("spot", pair, tz, key, "rest", absences))


def negative_chunk() -> bytes:
    klines = klines_of(whole(DAY))
    negative = klines.set_column(5, klines.schema.field("volume"), [(-column(klines, "volume") - 1).tolist()])
    return encode(negative, Footer("spot", "BTC/USDT", "UTC", DAY.key, "rest", ()))


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", chunk_saying()[:-100], chunk_saying("2024-03-06"), chunk_saying(pair="ETH/USDT"),
     chunk_saying(tz="Europe/Zurich"), chunk_saying(absences=(Absence(Kind.OPEN, HALT),)), negative_chunk()],
    ids=["empty", "garbage", "cut off", "another day", "another pair", "another zone", "false absences", "bad values"],
)  # fmt: skip
def test_a_file_that_is_no_good_chunk_is_not_adopted_and_reported(root, dataset_store, content):
    dataset_store.chunk_path(DAY).write_bytes(content)
    again = opened(root)
    assert again.entries == {}
    [warning] = again.warnings
    assert "chunk_000005_2024-03-05.parquet" in warning
    assert "\n" not in warning


def test_a_file_with_an_impossible_day_in_its_name_does_not_stop_the_store(root, dataset_store):
    (dataset_store.folder / "chunks" / "chunk_000001_2024-13-45.parquet").write_bytes(chunk_saying())
    again = opened(root)
    again.note_requested(WINDOW, FIRST)
    assert again.entries == {}


def test_files_that_are_not_called_like_chunks_are_left_alone(root, dataset_store):
    stranger = dataset_store.folder / "chunks" / "notes.txt"
    stranger.write_text("mine")
    again = opened(root)
    again.note_requested(WINDOW, FIRST)
    assert stranger.read_text() == "mine"
    assert again.warnings == []


def test_a_chunk_with_any_byte_flipped_is_never_taken_for_the_one_that_was_written(dataset_store):
    few = Span(DAY.start_ms, DAY.start_ms + 5 * MINUTE_MS)
    rest = Absence(Kind.OPEN, Span(few.end_ms, DAY.end_ms))
    entry = dataset_store.publish(new_chunk(dataset_store.dataset, DAY, klines_of(few), [rest], source="rest"))
    path = dataset_store.chunk_path(DAY)
    content = path.read_bytes()
    # In a bucket each of them takes requests, and is read by the same code.
    for at in range(0, len(content), 1 if isinstance(path, Path) else 20):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        try:
            assert dataset_store.read(DAY).entry != entry, at
        except StoreError as error:
            assert "\n" not in str(error), at
    assert not dataset_store.is_intact(DAY)


# --- killed anywhere


def test_a_process_killed_before_its_first_flush_loses_nothing(root, dataset_store):
    entries = [publish(dataset_store, key) for key in ("2024-03-02", "2024-03-05")]
    assert list(opened(root).entries.values()) == entries


def test_a_process_killed_after_a_replacement_leaves_no_false_mismatch(root, dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    dataset_store.flush()
    better = publish(opened(root), DAY.key)
    again = opened(root)
    assert again.entries == {DAY.key: better}
    assert tell_no_lie(again)


def test_a_process_killed_right_before_a_replacement_leaves_the_old_chunk_in_use(root, dataset_store):
    old = publish(dataset_store, DAY.key, without=[HALT])
    dataset_store.flush()
    content = dataset_store.chunk_path(DAY).read_bytes()
    publish(opened(root), DAY.key)
    dataset_store.chunk_path(DAY).write_bytes(content)
    again = opened(root)
    assert again.entries == {DAY.key: old}
    assert tell_no_lie(again)


def test_a_process_killed_after_replacing_what_another_one_published_leaves_no_false_mismatch(root, dataset_store):
    publish(dataset_store, DAY.key, without=[LONGER_HALT])
    other = opened(root)
    publish(other, DAY.key, without=[HALT])
    other.flush()
    publish(dataset_store, DAY.key)
    assert tell_no_lie(opened(root))


def test_a_flush_does_not_vouch_for_what_another_process_replaced_meanwhile(root, dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    better = publish(opened(root), DAY.key)
    dataset_store.flush()
    again = opened(root)
    assert again.entries == {DAY.key: better}
    assert tell_no_lie(again)


def test_a_flush_does_not_undo_what_another_process_listed_meanwhile(root, dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    other = opened(root)
    better = publish(other, DAY.key)
    other.flush()
    dataset_store.flush()
    assert opened(root).entries == {DAY.key: better}
    assert tell_no_lie(opened(root))


def rewritten_in_the_same_tick(path: Path, old: str, new: str) -> None:
    """Put a text in place of another in a file. Some clocks tick every 2 s, and not all places tell two files apart."""
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@in_a_folder
def test_a_manifest_that_changes_within_one_tick_of_the_clock_is_read_again(root, dataset_store):
    entry, other_sha256 = publish(dataset_store, DAY.key), "ab" * 32
    dataset_store.flush()
    other = opened(root)
    assert other.entries == {DAY.key: entry}
    rewritten_in_the_same_tick(manifest_of(dataset_store), entry.sha256, other_sha256)
    other.refresh()
    assert other.entries[DAY.key].sha256 == other_sha256


@in_a_folder
def test_a_dataset_file_that_changes_within_one_tick_of_the_clock_is_read_again(root, dataset_store):
    other = opened(root)
    rewritten_in_the_same_tick(dataset_store.folder / "dataset.json", "2024-03-01", "2024-02-28")
    other.refresh()
    assert other.dataset.start == date(2024, 2, 28)


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_a_process_killed_after_mending_a_chunk_leaves_no_false_mismatch(root, dataset_store, damage):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    path = dataset_store.chunk_path(DAY)
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-1] + b"!")
    publish(opened(root), DAY.key, source="archive")
    again = opened(root)
    assert again.entries[DAY.key].source == "archive"
    assert tell_no_lie(again)


def test_a_replacement_in_the_same_bytes_never_leaves_the_manifest(root, dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    publish(opened(root), DAY.key)
    assert listed(dataset_store) == [DAY.key]


@in_a_folder
def test_temporary_files_that_a_killed_process_left_are_removed_by_the_next_ask(root, dataset_store):
    for name in ("manifest.json.tmp", "chunks/chunk_000001_2024-03-01.parquet.tmp"):
        (dataset_store.folder / name).write_bytes(b"half")
    opened(root).note_requested(WINDOW, FIRST)
    assert list(dataset_store.folder.glob("**/*.tmp")) == []


def test_temporary_files_of_others_are_left_alone(root, dataset_store):
    """A live process writes its note under a lock of its own, and a combine its file."""
    combined = dataset_store.folder / "combined"
    combined.mkdir()
    others = [dataset_store.folder / ".live.json.tmp", combined / "BTCUSDT_1m_all.parquet.tmp",
              dataset_store.folder / "chunks" / "mine.tmp"]  # fmt: skip
    for path in others:
        path.write_bytes(b"half")
    again = opened(root)
    again.note_requested(WINDOW, FIRST)
    assert all(path.read_bytes() == b"half" for path in others)
    assert again.strangers() == [others[-1]]


@in_a_folder
def test_a_copy_that_a_killed_process_did_not_finish_is_removed(root, dataset_store):
    quarantine = dataset_store.folder / "quarantine"
    quarantine.mkdir()
    for number in ("", ".1"):
        (quarantine / f"chunk_000001_2024-03-01.parquet{number}.tmp").write_bytes(b"half")
    opened(root).note_requested(WINDOW, FIRST)
    assert files_in(quarantine) == []


# --- several writers


def test_a_refresh_shows_what_another_process_wrote_meanwhile(root, dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    other = opened(root)
    entries = {DAY.key: publish(other, DAY.key), "2024-03-06": publish(other, "2024-03-06")}
    for flushed in (False, True):
        if flushed:
            other.flush()
        dataset_store.refresh()
        assert dataset_store.entries == entries
    assert dataset_store.warnings == []


def test_two_writers_of_different_days_end_with_one_manifest_of_all(root, dataset_store):
    other = opened(root)
    for key, into in (("2024-03-02", dataset_store), ("2024-03-03", other), ("2024-03-04", dataset_store)):
        publish(into, key)
    other.flush()
    dataset_store.flush()
    assert listed(other) == ["2024-03-02", "2024-03-03", "2024-03-04"]
    assert tell_no_lie(opened(root))


def publish_days(root: str, keys: list[str]) -> None:
    into = opened(root_of(root), manifest_interval_s=0)
    for key in keys:
        publish(into, key)


@pytest.mark.parametrize("root", SHARED_PLACES, indirect=True)
def test_two_processes_that_publish_at_once_end_with_one_manifest_of_all(root, dataset_store):
    keys = [f"2024-03-{number:02d}" for number in range(1, 21)]
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=publish_days, args=(str(root), keys[part::2])) for part in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert listed(dataset_store) == keys
    assert tell_no_lie(opened(root))


def test_minutes_that_are_being_loaded_are_seen_by_others_until_the_load_ends(root, dataset_store):
    other, hour = opened(root), span("2024-03-05T04:00Z", "2024-03-05T05:00Z")
    with dataset_store.loading(WINDOW):
        assert other.being_loaded() == [WINDOW]
        with other.loading(hour):
            assert sorted(dataset_store.being_loaded(), key=lambda window: window.start_ms) == [WINDOW, hour]
        assert other.being_loaded() == [WINDOW]
    with pytest.raises(BadAnswer), dataset_store.loading(hour):
        raise BadAnswer("the load failed")
    assert other.being_loaded() == []


def test_two_processes_that_create_a_dataset_agree_on_the_first_ones_zone(store):
    store.create(Market.SPOT, "BTC/USDT", zone=parse_zone("+05:30"), start=FIRST)
    second = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2020, 1, 1))
    assert (second.dataset.zone.name, second.dataset.start) == ("+05:30", FIRST)


def test_a_dataset_that_another_process_creates_meanwhile_is_opened_as_that_made_it(proxy):
    """No lock keeps two processes in a bucket from finding both that there is none."""
    root = in_bucket()
    one, other = Store(root), Store(root)

    def creates(request: Request) -> bool:
        return (
            request.method in {"GET", "HEAD"} and request.key.endswith("dataset.json") or "list-type" in request.query
        )

    proxy.loses = once(
        creates, lambda: other.create(Market.SPOT, "BTC/USDT", zone=parse_zone("+05:30"), start=date(2023, 1, 1))
    )
    made = one.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    assert (made.dataset.zone.name, made.dataset.start) == ("+05:30", date(2023, 1, 1))
    assert Store(root).find(Market.SPOT, "BTC/USDT") == made.dataset


def test_what_two_writers_asked_for_is_remembered_together(root, dataset_store):
    other = opened(root)
    dataset_store.note_requested(span("2024-04-01", "2024-04-02"), FIRST)
    other.note_requested(span("2024-05-01", "2024-05-02"), FIRST)
    assert opened(root).dataset.requested == (
        WINDOW, span("2024-04-01", "2024-04-02"), span("2024-05-01", "2024-05-02"),
    )  # fmt: skip


def test_what_another_process_noted_is_kept_by_a_mark(root, dataset_store):
    later, between = span("2024-04-01", "2024-04-02"), span("2024-02-01", "2024-02-10")
    age(dataset_store.folder / "dataset.json", seconds=60)  # a young file is read each time
    mine = opened(root)
    dataset_store.note_requested(later, FIRST, reused=between)
    mine.mark_live(True)
    noted = opened(root).dataset
    assert (noted.requested, noted.reused, noted.live) == ((WINDOW, later), between, True)


def test_minutes_that_have_no_klines_are_requested_no_more_but_those_of_a_chunk(root, dataset_store):
    publish(dataset_store, "2024-03-08")
    for _ in range(2):
        dataset_store.note_without_klines(DAY.start_ms)
        left = span("2024-03-01", "2024-03-05"), span("2024-03-08", "2024-03-09")
        assert opened(root).dataset.requested == left


# --- an earlier start


def test_an_earlier_start_renames_the_chunks_and_keeps_their_bytes(root, dataset_store):
    entry = publish(dataset_store, DAY.key)
    dataset_store.flush()
    dataset_store.note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    assert files_in(dataset_store.folder / "chunks") == ["chunk_000034_2024-03-05.parquet"]
    assert dataset_store.is_intact(DAY)
    [chunk] = json.loads(manifest_of(dataset_store).read_bytes())["chunks"]
    assert (chunk["index"], chunk["file"]) == (34, "chunk_000034_2024-03-05.parquet")
    assert opened(root).entries == {DAY.key: entry}


def test_a_later_start_changes_nothing(dataset_store):
    publish(dataset_store, DAY.key)
    dataset_store.note_requested(WINDOW, date(2024, 3, 5))
    assert dataset_store.dataset.start == FIRST
    assert files_in(dataset_store.folder / "chunks") == ["chunk_000005_2024-03-05.parquet"]


def test_an_unfinished_renaming_is_read_right_and_finished_by_the_next_ask(root, dataset_store):
    for key in ("2024-03-04", "2024-03-05"):
        publish(dataset_store, key)
    dataset_store.flush()
    dataset_store.note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    chunks = dataset_store.folder / "chunks"
    (chunks / "chunk_000034_2024-03-05.parquet").rename(chunks / "chunk_000005_2024-03-05.parquet")
    again = opened(root)
    assert tell_no_lie(again)
    again.note_requested(WINDOW, FIRST)
    assert files_in(chunks) == ["chunk_000033_2024-03-04.parquet", "chunk_000034_2024-03-05.parquet"]
    assert tell_no_lie(opened(root))


def test_a_writer_that_missed_a_renaming_makes_no_second_file_of_a_day(root, dataset_store):
    publish(dataset_store, DAY.key, without=[HALT])
    dataset_store.flush()
    opened(root).note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    publish(dataset_store, DAY.key)
    publish(dataset_store, "2024-03-06")
    dataset_store.flush()
    assert files_in(dataset_store.folder / "chunks") == [
        "chunk_000034_2024-03-05.parquet", "chunk_000035_2024-03-06.parquet",
    ]  # fmt: skip
    assert tell_no_lie(opened(root))


def test_chunks_before_the_start_of_a_dataset_that_was_made_anew_stay_in_use(root, dataset_store):
    """What the message about a damaged dataset.json advises: move it away and run backfill again."""
    entry = publish(dataset_store, DAY.key)
    (dataset_store.folder / "dataset.json").unlink()
    again = Store(root).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2024, 4, 1))
    again.note_requested(span("2024-04-01", "2024-04-02"), date(2024, 4, 1))
    assert again.dataset.index_of(DAY.key) == 1
    assert again.is_intact(DAY)
    assert opened(root).entries == {DAY.key: entry}


# --- the folders above


def test_the_datasets_of_a_root_are_the_dataset_files_under_it(root, store):
    assert list(store.datasets()) == []
    for market, pair in ((Market.FUTURES, "BTC/USDT"), (Market.SPOT, "ETH/USDT"), (Market.SPOT, "BTC/USDT")):
        store.create(market, pair, zone=UTC_ZONE, start=FIRST)
    assert [dataset.name for dataset in store.datasets()] == ["spot BTC/USDT", "spot ETH/USDT", "futures BTC/USDT"]
    assert (root / "binanceusdm" / "BTCUSDT" / "1m" / "dataset.json").exists()
    assert store.find(Market.FUTURES, "ETH/USDT") is None


def test_the_marked_datasets_are_found_beside_damaged_ones(root, store):
    made = [store.create(Market.SPOT, f"{base}/USDT", zone=UTC_ZONE, start=FIRST) for base in ("BTC", "ETH", "XRP")]
    other = store.create(Market.FUTURES, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    for files in (made[0], made[2], other):
        files.mark_live(True)
    copied = root / "binance" / "NEARUSDT" / "1m" / "dataset.json"
    copied.parent.mkdir(parents=True)
    copied.write_bytes((made[2].folder / "dataset.json").read_bytes())
    (made[0].folder / "dataset.json").write_text("{")
    found, damaged = store.marked()
    assert [dataset.name for dataset in found] == ["spot XRP/USDT", "futures BTC/USDT"]
    assert list(damaged) == ["binance/BTCUSDT", "binance/NEARUSDT"]
    assert "is damaged" in str(damaged["binance/BTCUSDT"])
    assert "says it is spot XRP/USDT" in str(damaged["binance/NEARUSDT"])
    assert store.marked(Market.FUTURES) == ([other.dataset], {})


def test_the_marks_of_a_bucket_are_read_several_at_once(proxy):
    """Each answer is held until another one is, which never comes where one is asked for after the other."""
    store, both = Store(in_bucket()), threading.Barrier(2)
    for base in ("BTC", "ETH"):
        store.create(Market.SPOT, f"{base}/USDT", zone=UTC_ZONE, start=FIRST).mark_live(True)

    def held(request: Request) -> bool:
        if request.method == "GET" and request.key.endswith("dataset.json"):
            both.wait(10)
        return False

    proxy.loses = held
    found, damaged = store.marked()
    assert ([dataset.pair for dataset in found], damaged) == (["BTC/USDT", "ETH/USDT"], {})


def test_a_dataset_is_found_as_it_was_left(store, dataset_store):
    assert store.find(Market.SPOT, "BTC/USDT") == dataset_store.dataset
    assert dataset_store.dataset.requested == (WINDOW,)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", "null", "{}", '{"format": 0}', "no zone", "no market", "no pair", "no start", "no asked"],
)
def test_a_damaged_dataset_file_is_named_with_what_to_do(store, dataset_store, content):
    path = dataset_store.folder / "dataset.json"
    if content.startswith("no "):
        field = {"zone": "tz"}.get(content[3:], content[3:])
        content = json.dumps(json.loads(path.read_text()) | {field: "nonsense"})
    path.write_text(content)
    for door in (lambda: store.find(Market.SPOT, "BTC/USDT"), lambda: list(store.datasets())):
        with pytest.raises(StoreError, match="restore it, or move it away") as refused:
            door()
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


@in_a_folder
@pytest.mark.parametrize("inside", [False, True], ids=["a file in its place", "a file above it"])
def test_a_root_that_takes_no_files_is_refused_with_what_to_do(root, inside):
    (root / "root").write_text("in the way")
    root = root / "root" / "data" if inside else root / "root"
    with pytest.raises(StoreError, match="set MARKET_DATA_DIR to a folder you own") as refused:
        Store(root).require_writable()
    assert str(root) in str(refused.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no files, even of root")
def test_a_folder_that_is_there_and_takes_no_files_is_refused():
    with pytest.raises(StoreError, match="^cannot write to the data root /proc/self: "):
        Store(Path("/proc/self")).require_writable()


def test_proving_that_a_root_takes_files_leaves_none(root):
    Store(root / "new" / "root").require_writable()
    assert files_in(root / "new" / "root") == []


def prove_often(root: str, times: int) -> None:
    for _ in range(times):
        Store(Path(root)).require_writable()


@in_a_folder
def test_processes_that_prove_at_once_that_a_root_takes_files_do_not_disturb_each_other(root):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=prove_often, args=(str(root / "root"), 200)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert files_in(root / "root") == []


def test_a_chunk_of_a_long_day_has_its_minutes(store):
    zurich = parse_zone("Europe/Zurich")
    made = store.create(Market.SPOT, "BTC/USDT", zone=zurich, start=date(2023, 10, 1))
    made.note_requested(span("2023-10-01", "2023-11-01"), date(2023, 10, 1))
    entry = publish(made, "2023-10-29")
    assert (entry.rows, entry.expected_rows) == (1500, 1500)
    assert len(open_times(made.read(day("2023-10-29", zurich)).klines)) == 1500


# --- a chunk is hashed once


def test_a_chunk_is_hashed_once_and_again_after_it_changed(root, dataset_store, monkeypatch):
    publish(dataset_store, DAY.key)
    dataset_store.flush()
    path = dataset_store.chunk_path(DAY)
    content = path.read_bytes()
    age(path, seconds=60)
    hashed = []
    monkeypatch.setattr(hashes, "sha256_of", lambda content: hashed.append(content) or sha256_of(content))
    again = opened(root)
    for _ in range(2):
        assert again.is_intact(DAY)
        assert again.trusted(DAY).entry == again.entries[DAY.key]
    assert hashed == [content]
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    age(path, seconds=30)
    assert not again.is_intact(DAY)
    assert again.trusted(DAY) is None
    assert len(hashed) == 2


def test_reading_a_chunk_hashes_it_each_time(root, dataset_store):
    """Verification reads so: what it says of a chunk is what the chunk is, whatever its time and size."""
    entry = publish(dataset_store, DAY.key)
    path = dataset_store.chunk_path(DAY)
    age(path, seconds=60)
    again = opened(root)
    assert again.is_intact(DAY)
    content = path.read_bytes()
    at = content.index(b"BTC/USDT")
    path.write_bytes(content[:at] + b"BTC/USDC" + content[at + 8 :])
    age(path, seconds=60)
    with pytest.raises(StoreError):
        again.read(DAY)
    path.write_bytes(content)
    assert again.read(DAY).entry == entry


def age(path: StorePath, *, seconds: int) -> None:
    """Let a file be as old as it was written so long ago; an object has no such time that counts."""
    if isinstance(path, Path):
        at = time.time_ns() // 1_000_000_000 * 1_000_000_000 - seconds * 1_000_000_000
        os.utime(path, ns=(at, at))


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_an_object_that_is_too_large_for_a_chunk_is_damage_and_no_trouble_of_the_object_store(dataset_store):
    entry = publish(dataset_store, DAY.key)
    files, chunks = storage_of(dataset_store.folder), dataset_store.folder / "chunks"
    [name] = files.names(chunks)
    files.write(chunks / name, bytes(MOST_CHUNK_BYTES + 1))
    with pytest.raises(StoreError, match=f"the chunk {name} cannot be read: "):
        dataset_store.read(DAY)
    assert not dataset_store.is_intact(DAY)
    assert publish(dataset_store, DAY.key) == entry
    assert dataset_store.is_intact(DAY)
