"""What a snapshot names can be read to the byte, whatever takes its place, in each place; the rest is not kept."""

import errno
import hashlib
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_of
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.disk.calls import Call, told
from market_data_pipeline.core.store.disk.calls import Kind as Change
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.keeping import read_named
from market_data_pipeline.core.store.snapshots.lists import Snapshot, find_snapshot, snapshots_of
from market_data_pipeline.core.store.snapshots.making import make_snapshot
from market_data_pipeline.core.store.snapshots.proving import current_paths, prove_snapshot
from market_data_pipeline.core.store.snapshots.removing import remove_snapshot
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, klines_of, whole
from market_data_pipeline_tests.core.store.conftest import in_a_folder
from market_data_pipeline_tests.core.store.test_revisions import DAY, FIRST, NOON, OTHERS, WINDOW, opened, publish

SOME = {NOON: {"volume": 7.0}}
KEYS = ["2024-03-04", "2024-03-05", "2024-03-06"]


@pytest.fixture
def dataset_store(made: DatasetStore) -> DatasetStore:
    made.note_requested(WINDOW, FIRST)
    for key in KEYS:
        publish(made, key=key)
    made.flush()
    return made


def named(store: Store, name: str = "one") -> Snapshot:
    return make_snapshot(store, name, list(store.datasets()))


def as_of(store: Store, name: str = "one") -> dict[str, bytes]:
    """The chunks that a snapshot names, as they can be read now."""
    dataset = Store(layout.snapshot_folder(store.root, name)).find(Market.SPOT, "BTC/USDT")
    assert dataset
    of_snapshot = layout.dataset_folder(layout.snapshot_folder(store.root, name), Market.SPOT, "BTC/USDT")
    folder = store.folder(Market.SPOT, "BTC/USDT")
    entries = ManifestFile(of_snapshot / "manifest.json", dataset).entries() or {}
    paths = current_paths(folder, dataset)
    return {day: read_named(folder, paths.get(day), entry.sha256)[0] for day, entry in entries.items()}


def stored(of: DatasetStore) -> dict[str, bytes]:
    folder = of.folder / "chunks"
    return {path.stem[-10:]: path.read_bytes() for path in folder.iterdir() if path.suffix == ".parquet"}


def kept(of: DatasetStore) -> list[str]:
    return storage_of(of.folder).names(of.folder / "kept")


def left_of(store: Store, name: str) -> list[Any]:
    return list((store.root / "snapshots" / name).glob("**/*.json"))


# --- keeping


def test_a_snapshot_lists_every_chunk_with_its_sha256_and_copies_none(
    store: Store, dataset_store: DatasetStore
) -> None:
    made = named(store)
    entries = dataset_store.by_day()
    assert (made.name, made.datasets, made.chunks) == ("one", 1, 3)
    assert (made.rows, made.size_bytes) == (3 * 1440, sum(entry.size_bytes for entry in entries))
    assert snapshots_of(store.root) == [find_snapshot(store.root, "one")] == [made]
    assert as_of(store) == stored(dataset_store)
    assert kept(dataset_store) == []


def test_a_day_without_klines_is_named_like_another(store: Store, made: DatasetStore) -> None:
    window = Span(day_of(UTC_ZONE, FIRST).start_ms, day_of(UTC_ZONE, FIRST).end_ms)
    assert [result.error for result in backfill(made, FakeSource(missing=[window]), window)] == [None]
    snapshot = named(store)
    assert (snapshot.chunks, snapshot.rows) == (1, 0)
    assert find_snapshot(store.root, "one") == snapshot


def test_a_chunk_that_is_replaced_is_kept_and_what_comes_later_is_not_in_it(
    store: Store, dataset_store: DatasetStore
) -> None:
    named(store)
    before, old = as_of(store), dataset_store.entries[DAY.key]
    publish(dataset_store, SOME)
    publish(dataset_store, key="2024-03-07")
    assert as_of(store) == before
    assert stored(dataset_store)[DAY.key] != before[DAY.key]
    assert kept(dataset_store) == [f"{old.sha256}.parquet"]
    proof = prove_snapshot(store, "one")
    assert (proof.ok, proof.chunks, proof.kept) == (True, 3, 1)


def test_only_what_a_snapshot_names_is_kept(store: Store, dataset_store: DatasetStore) -> None:
    publish(dataset_store, OTHERS)
    assert kept(dataset_store) == []
    named(store)
    publish(dataset_store, SOME)
    publish(dataset_store, OTHERS)
    publish(dataset_store, SOME)
    assert len(kept(dataset_store)) == 1
    assert prove_snapshot(store, "one").ok


def test_a_file_beside_snapshots_is_none_of_them(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    (store.root / "snapshots" / "README.txt").write_text("one: for the paper", encoding="utf-8")
    publish(dataset_store, SOME)
    publish(dataset_store, OTHERS)
    assert len(kept(dataset_store)) == 1
    assert prove_snapshot(store, "one").ok
    assert remove_snapshot(store, "one").chunks == 1
    assert kept(dataset_store) == []


def test_another_process_keeps_it_too_that_was_there_before_the_snapshot(
    store: Store, dataset_store: DatasetStore, root: Any
) -> None:
    other = opened(root)
    named(store)
    before = as_of(store)
    publish(other, SOME)
    publish(opened(root), {NOON: {"trades": 3}})
    assert as_of(store) == before


def test_days_that_go_together_are_kept(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    before = as_of(store)
    with dataset_store.together():
        for key in KEYS:
            on = dataset_store.dataset.day(key)
            publish(dataset_store, {on.start_ms: {"trades": 3}}, key=key)
    assert as_of(store) == before
    assert len(kept(dataset_store)) == 3


def test_a_start_that_moves_changes_names_and_nothing_else(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    before = as_of(store)
    publish(dataset_store, SOME)
    dataset_store.note_requested(WINDOW, date(2024, 2, 25))
    assert as_of(store) == before
    assert prove_snapshot(store, "one").ok
    publish(dataset_store, key=KEYS[0], source="archive")
    assert as_of(store) == before


def test_a_day_that_is_not_over_is_in_no_snapshot(store: Store, dataset_store: DatasetStore) -> None:
    def grown_to(minutes: int) -> None:
        on = dataset_store.dataset.day("2024-03-07")
        there = Span(on.start_ms, on.start_ms + minutes * MINUTE_MS)
        rest = Absence(Kind.OPEN, Span(there.end_ms, on.end_ms))
        dataset_store.publish(new_chunk(dataset_store.dataset, on, klines_of(there), [rest], source="live"))

    grown_to(100)
    assert named(store).chunks == 3
    grown_to(200)
    assert kept(dataset_store) == []
    assert sorted(as_of(store)) == KEYS


# --- removing


def test_kept_chunks_go_with_the_last_snapshot_that_names_them(store: Store, dataset_store: DatasetStore) -> None:
    named(store, "one")
    publish(dataset_store, SOME)
    named(store, "two")
    publish(dataset_store, OTHERS)
    one, two = as_of(store, "one"), as_of(store, "two")
    assert len(kept(dataset_store)) == 2
    removed = remove_snapshot(store, "one")
    assert (removed.chunks, removed.size_bytes) == (1, len(one[DAY.key]))
    assert as_of(store, "two") == two
    assert [each.name for each in snapshots_of(store.root)] == ["two"]
    assert remove_snapshot(store, "two").chunks == 1
    assert kept(dataset_store) == []
    assert left_of(store, "two") == []
    with pytest.raises(UsageError, match="no snapshot 'two' under .*there are: none"):
        remove_snapshot(store, "two")


@pytest.mark.parametrize("gone", ["dataset.json", "manifest.json"])
def test_a_removal_that_was_killed_anywhere_is_finished_by_the_next(
    store: Store, dataset_store: DatasetStore, gone: str
) -> None:
    named(store)
    publish(dataset_store, SOME)
    folder = store.root / "snapshots" / "one"
    for path in (folder / "snapshot.json", folder / "binance" / "BTCUSDT" / "1m" / gone):
        storage_of(path).remove(path)
    remove_snapshot(store, "one")
    assert kept(dataset_store) == []
    assert left_of(store, "one") == []


def test_a_snapshot_of_the_same_chunks_again_is_the_same(store: Store, dataset_store: DatasetStore) -> None:
    first = named(store)
    remove_snapshot(store, "one")
    assert named(store).sha256 == first.sha256
    publish(dataset_store, SOME)
    assert named(store, "two").sha256 != first.sha256


def test_the_sha256_of_a_snapshot_is_that_of_its_lines_in_order(store: Store, dataset_store: DatasetStore) -> None:
    other = store.create(Market.SPOT, "BTC/USD", zone=UTC_ZONE, start=FIRST)
    other.note_requested(WINDOW, FIRST)
    publish(other, key=KEYS[0])
    other.flush()
    lines = sorted(
        f"spot {files.dataset.token} {files.dataset.zone.name} {entry.day} {entry.sha256}\n"
        for files in (dataset_store, other)
        for entry in files.by_day()
    )
    assert named(store).sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert prove_snapshot(store, "one").ok


def test_one_that_was_not_finished_is_none_and_is_made_anew(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    (store.root / "snapshots" / "one" / "snapshot.json").unlink()
    assert snapshots_of(store.root) == []
    publish(dataset_store, SOME)
    assert len(kept(dataset_store)) == 1  # it might have been finished
    again = named(store)
    assert as_of(store) == stored(dataset_store)
    assert snapshots_of(store.root) == [again]


@in_a_folder
def test_of_one_that_the_disk_has_no_room_for_no_list_is_left(store: Store, dataset_store: DatasetStore) -> None:
    def refuse(call: Call) -> None:
        if call.kind is Change.SYNCED and call.path.name == "snapshot.json.tmp":
            raise OSError(errno.ENOSPC, "No space left on device", str(call.path))

    with told(refuse), pytest.raises(OSError, match="No space left"):
        named(store)
    assert left_of(store, "one") == []
    publish(dataset_store, SOME)
    assert kept(dataset_store) == []


# --- what cannot be


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "ends.", "a b", "con", "x" * 101, "ü"])
def test_a_name_that_can_be_no_folder_is_refused(store: Store, dataset_store: DatasetStore, name: str) -> None:
    with pytest.raises(UsageError, match="no name of a snapshot"):
        named(store, name)


@in_a_folder
def test_a_copy_of_a_snapshot_under_another_name_is_none_and_hides_none(
    store: Store, dataset_store: DatasetStore
) -> None:
    named(store)
    folder = store.root / "snapshots"
    shutil.copytree(folder / "one", folder / "one - Copy")
    assert [each.name for each in snapshots_of(store.root)] == ["one"]
    with pytest.raises(UsageError, match="there are: one$"):
        find_snapshot(store.root, "two")


@in_a_folder
def test_a_file_of_universes_that_is_none_is_refused_and_leaves_nothing(
    store: Store, dataset_store: DatasetStore
) -> None:
    """Docker makes a folder of a file to mount that is missing."""
    (store.root / "market-data.toml").mkdir()
    with pytest.raises(UsageError, match=r"market-data.toml cannot be read: it is no file"):
        named(store)
    assert list((store.root / "snapshots" / "one").glob("**/*")) == []


@in_a_folder
def test_a_removal_where_nothing_is_makes_no_folder(root: Path) -> None:
    with pytest.raises(UsageError, match="no snapshot 'one' under"):
        remove_snapshot(Store(root / "none"), "one")
    assert not (root / "none").exists()


def test_a_snapshot_is_never_changed(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    with pytest.raises(UsageError, match="there is a snapshot one already; give another name, or remove it"):
        named(store)


def test_nothing_to_name_is_no_snapshot(store: Store, made: DatasetStore) -> None:
    with pytest.raises(UsageError, match="there is no chunk of a day that is over"):
        named(store)
    assert snapshots_of(store.root) == []


def test_a_chunk_that_is_missing_cannot_be_named(store: Store, dataset_store: DatasetStore) -> None:
    dataset_store.chunk_path(DAY).unlink()
    with pytest.raises(StoreError, match=f"the chunk of {DAY.key} is missing or damaged; run .*verify --repair"):
        named(store)
    assert snapshots_of(store.root) == []
    assert left_of(store, "one") == []


def test_what_is_lost_or_damaged_is_found(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    old = dataset_store.entries[DAY.key]
    publish(dataset_store, SOME)
    layout.kept_path(dataset_store.folder, old.sha256).write_bytes(b"PAR1")
    dataset_store.chunk_path(dataset_store.dataset.day(KEYS[2])).unlink()
    proof = prove_snapshot(store, "one")
    assert not proof.ok
    assert proof.problems == (f"spot BTC/USDT: 2 of 3 chunks gone or damaged, first {DAY.key}",)


@pytest.mark.parametrize(
    ("key", "other"),
    [("datasets", -1), ("chunks", -1), ("rows", -1), ("bytes", -1), ("name", "a/b"), ("name", ""), ("sha256", "a")],
)
def test_a_file_that_no_snapshot_has_is_damaged(
    store: Store, dataset_store: DatasetStore, key: str, other: object
) -> None:
    named(store)
    path = layout.snapshot_folder(store.root, "one") / layout.SNAPSHOT_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), key: other}))
    with pytest.raises(StoreError) as refused:
        find_snapshot(store.root, "one")
    assert str(refused.value).startswith(f"{path} is damaged (")
    assert str(refused.value).endswith("); restore it, or remove the snapshot")


def test_a_list_that_was_changed_is_found(store: Store, dataset_store: DatasetStore) -> None:
    named(store)
    path = store.root / "snapshots" / "one" / "binance" / "BTCUSDT" / "1m" / "manifest.json"
    text = path.read_text()
    old = dataset_store.entries[DAY.key].sha256
    path.write_text(text.replace(old, "0" * 64))
    assert any("are not those that were written" in problem for problem in prove_snapshot(store, "one").problems)
    path.write_text("{")
    publish(dataset_store, SOME)
    assert len(kept(dataset_store)) == 1  # what it names cannot be told
    named(store, "two")
    remove_snapshot(store, "two")
    assert len(kept(dataset_store)) == 1
    assert not prove_snapshot(store, "one").ok


def test_a_day_without_klines_is_named(store: Store, dataset_store: DatasetStore) -> None:
    on = dataset_store.dataset.day("2024-03-07")
    halt = Absence(Kind.OUTAGE, whole(on))
    dataset_store.publish(new_chunk(dataset_store.dataset, on, klines_of(Span(0, 0)), [halt], source="rest"))
    assert named(store).chunks == 4
    assert prove_snapshot(store, "one").ok
