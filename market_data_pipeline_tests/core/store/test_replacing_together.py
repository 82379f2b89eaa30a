"""Listed chunks that are replaced together leave the list together, and only those."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.counting.counts import STORE
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.files import NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.replacing import Overtaken
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.disk import calls
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE, changed, klines_of, span, whole
from market_data_pipeline_tests.core.store.conftest import in_a_folder
from market_data_pipeline_tests.support import counts_of

FIRST = date(2024, 3, 1)
DAYS = [f"2024-03-{number:02d}" for number in range(1, 13)]
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")


def opened(root: Any, *, manifest_interval_s: float = 3600) -> DatasetStore:
    """The dataset as another process opens it."""
    store = Store(root, manifest_interval_s=manifest_interval_s)
    return store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)


@pytest.fixture
def stored(root: Any) -> DatasetStore:
    """A dataset whose days are listed. The second one is from REST, and the archive said the same."""
    made = opened(root)
    made.note_requested(span("2024-03-01", "2024-03-13"), FIRST)
    for key in DAYS:
        made.publish(a_chunk(made, key))
    made.publish(a_chunk(made, DAYS[1], source="archive"))
    made.flush()
    assert states(made)[DAYS[1]] == State.ARCHIVED
    return made


def a_chunk(
    of: DatasetStore, key: str, *, trades: int | None = None, without: Sequence[Span] = (), source: str = "rest"
) -> NewChunk:
    """The day's chunk; with `trades` one value is revised."""
    on = of.dataset.day(key)
    klines = klines_of(whole(on), without=without)
    if trades is not None:
        klines = changed(klines, "trades", 7, trades)
    return new_chunk(of.dataset, on, klines, [Absence(Kind.OUTAGE, gap) for gap in without], source=source)


def on_disk(store: DatasetStore) -> dict[str, dict[str, Any]]:
    """The list on disk, by day."""
    content = json.loads((store.folder / "manifest.json").read_bytes())
    return {chunk["day"]: chunk for chunk in content["chunks"]}


def states(store: DatasetStore) -> dict[str, str]:
    return {day: chunk["state"] for day, chunk in on_disk(store).items()}


def manifests_written(act: Callable[[], object]) -> int:
    """How often the manifest is written meanwhile."""
    taken = counts_of(act)
    return round(sum(by for key, by in taken.items() if key[:2] == (f"{STORE.name}_bucket", "manifest")))


def publish(store: DatasetStore, new: Iterable[NewChunk]) -> None:
    new = list(new)
    with store.together(new):
        for each in new:
            store.publish(each)


@pytest.mark.parametrize("manifest_interval_s", [3600, 0])
def test_days_that_are_replaced_together_leave_the_list_with_one_write(
    root: Any, stored: DatasetStore, manifest_interval_s: float
) -> None:
    """However often the list may be written: that is after them."""
    store = opened(root, manifest_interval_s=manifest_interval_s)
    new = [a_chunk(store, key, trades=99) for key in DAYS]
    assert manifests_written(lambda: publish(store, new)) == (1 if manifest_interval_s else 2)
    store.flush()
    assert {day: chunk["sha256"] for day, chunk in on_disk(store).items()} == {
        each.day.key: each.chunk.entry.sha256 for each in new
    }
    assert [noted.day for noted in opened(root).revisions()] == DAYS


@in_a_folder
def test_no_chunk_is_replaced_while_it_is_listed_and_no_other_one_leaves_the_list(
    root: Path, stored: DatasetStore
) -> None:
    """Of days between replaced ones, one is equal, one would lose minutes, and one is from another source."""
    chunks = {key: a_chunk(stored, key, trades=99) for key in DAYS}
    chunks[DAYS[1]] = a_chunk(stored, DAYS[1])
    chunks[DAYS[4]] = a_chunk(stored, DAYS[4], without=[HALT])
    chunks[DAYS[6]] = a_chunk(stored, DAYS[6], source="archive")
    kept, store, seen = {DAYS[1], DAYS[4], DAYS[6]}, opened(root), 0

    def look(call: calls.Call) -> None:
        nonlocal seen
        if call.kind is calls.Kind.RENAMED:
            seen += 1
            listed = on_disk(store)
            assert kept <= listed.keys()
            for day, chunk in listed.items():
                assert sha256_of(stored.chunk_path(stored.dataset.day(day)).read_bytes()) == chunk["sha256"]

    with calls.told(look), store.together(list(chunks.values())):
        for key, new in chunks.items():
            if key == DAYS[4]:
                with pytest.raises(Overtaken, match="keeps its chunk"):
                    store.publish(new)
            else:
                store.publish(new)
    assert seen == len(DAYS) - len(kept) + 1
    store.flush()
    assert on_disk(store).keys() == set(DAYS)
    assert (states(store)[DAYS[1]], states(store)[DAYS[6]]) == (State.ARCHIVED, State.ARCHIVED)


def test_a_day_that_left_the_list_and_was_not_replaced_is_listed_again_as_it_was(
    root: Any, stored: DatasetStore
) -> None:
    before, store = on_disk(stored), opened(root)
    new = [a_chunk(store, key, trades=99) for key in DAYS]
    with pytest.raises(KeyboardInterrupt), store.together(new):
        store.publish(new[0])
        raise KeyboardInterrupt
    assert on_disk(store) == {}
    assert list(store.entries) == DAYS
    store.flush()
    after = on_disk(store)
    assert after.pop(DAYS[0])["sha256"] == new[0].chunk.entry.sha256
    del before[DAYS[0]]
    assert after == before
    assert after[DAYS[1]]["state"] == State.ARCHIVED


def test_what_was_not_listed_again_before_a_kill_is_adopted(root: Any, stored: DatasetStore) -> None:
    store = opened(root)
    new = [a_chunk(store, key, trades=99) for key in DAYS]
    with pytest.raises(KeyboardInterrupt), store.together(new):
        store.publish(new[0])
        raise KeyboardInterrupt
    found = opened(root)
    assert list(found.by_day()) == [new[0].chunk.entry, *(stored.entries[key] for key in DAYS[1:])]
    assert found.warnings == []


def test_damaged_days_that_are_mended_together_are_listed_with_one_write(root: Any, stored: DatasetStore) -> None:
    """Until then they stay listed, as whoever opens the dataset has to notice that they are damaged."""
    for key in DAYS[:6]:
        storage_of(root).write(stored.chunk_path(stored.dataset.day(key)), b"damaged")
    storage_of(root).remove(stored.chunk_path(stored.dataset.day(DAYS[6])))
    store = opened(root)
    damaged = [a_chunk(store, key, trades=99) for key in DAYS[:7]]
    assert manifests_written(lambda: publish(store, damaged)) == 1
    assert {day: chunk["sha256"] for day, chunk in on_disk(store).items()} == {
        **{each.day.key: each.chunk.entry.sha256 for each in damaged},
        **{key: stored.entries[key].sha256 for key in DAYS[7:]},
    }


def test_damaged_days_stay_listed_while_others_leave_the_list(root: Any, stored: DatasetStore) -> None:
    storage_of(root).write(stored.chunk_path(stored.dataset.day(DAYS[3])), b"damaged")
    store = opened(root)
    new = [a_chunk(store, key, trades=99) for key in DAYS]
    with pytest.raises(KeyboardInterrupt), store.together(new):
        store.publish(new[0])
        raise KeyboardInterrupt
    assert list(on_disk(store)) == [DAYS[3]]
    assert not opened(root).is_intact(store.dataset.day(DAYS[3]))


def test_equal_days_write_no_manifest(root: Any, stored: DatasetStore) -> None:
    store = opened(root)
    assert manifests_written(lambda: publish(store, [a_chunk(store, key) for key in DAYS])) == 0


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_a_day_that_another_process_replaces_after_it_left_the_list_is_looked_at_again(
    root: Any, stored: DatasetStore
) -> None:
    """In a bucket no lock keeps it from that. Here the other one has a value of its own, which is revised."""
    store, other = opened(root), opened(root)
    new = [a_chunk(store, key, trades=99) for key in DAYS[:3]]
    with store.together(new):
        store.publish(new[0])
        theirs = other.publish(a_chunk(other, DAYS[1], trades=77))
        other.flush()
        with pytest.raises(Overtaken):
            store.publish(new[1])
        store.publish(new[1])
        store.publish(new[2])
    store.flush()
    assert [on_disk(store)[each.day.key]["sha256"] for each in new] == [each.chunk.entry.sha256 for each in new]
    revisions = [noted for noted in opened(root).revisions() if noted.day == DAYS[1]]
    assert [noted.old_sha256 for noted in revisions] == [stored.entries[DAYS[1]].sha256, theirs.sha256]
