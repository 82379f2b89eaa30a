"""In a bucket, a listed chunk is replaced and its writer is killed before it corrects the list: that is no damage."""

import json
import multiprocessing
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.findings import MATCHES_MANIFEST
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader import open_dataset
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, day, klines_of, span, whole
from market_data_pipeline_tests.core.store.test_revisions import HALT, OTHERS, SOME, having
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request
from market_data_pipeline_tests.places import in_bucket, root_of

DAY = day("2024-03-05")
CHUNK = "chunk_000005_2024-03-05.parquet"


def opened(root: Any, pair: str = "BTC/USDT") -> DatasetStore:
    """The dataset as another process opens it, which writes its manifest when told to."""
    store = Store(root, manifest_interval_s=3600)
    return store.create(Market.SPOT, pair, zone=UTC_ZONE, start=date(2024, 3, 1))


def publish(into: DatasetStore, values: Any = None, *, has_hole: bool = False) -> Entry:
    gaps = [HALT] if has_hole else []
    klines = having(klines_of(whole(DAY), without=gaps), values or {})
    absences = [Absence(Kind.OUTAGE, gap) for gap in gaps]
    return into.publish(new_chunk(into.dataset, DAY, klines, absences, source="rest"))


def replace_the_chunk(address: str) -> None:
    """What the process does that is killed."""
    publish(opened(root_of(address)), SOME)


@pytest.mark.slow
def test_a_writer_that_is_killed_before_it_corrects_the_list_leaves_a_good_store(proxy: ObjectsProxy) -> None:
    root = in_bucket()
    lister = opened(root)
    lister.note_requested(whole(DAY), date(2024, 3, 1))
    old = publish(lister)
    again, manifests = opened(root), list[Request]()
    is_replaced = threading.Event()

    def loses(request: Request) -> bool:
        if request.method == "PUT" and request.key.endswith("revisions.jsonl"):
            lister.flush()
        if request.method == "PUT" and request.key.endswith("manifest.json"):
            manifests.append(request)
            if len(manifests) == 2:  # the writer has taken the chunk off the list, and another process lists it again
                again.flush()
        if request.method == "PUT" and request.key.endswith(CHUNK):
            is_replaced.set()
        return is_replaced.is_set()

    proxy.loses = loses
    writer = multiprocessing.get_context("spawn").Process(target=replace_the_chunk, args=(str(root),))
    writer.start()
    try:
        assert is_replaced.wait(60)
    finally:
        writer.kill()
        writer.join()
    proxy.loses = lambda _: False
    new_sha256 = sha256_of((lister.folder / "chunks" / CHUNK).read_bytes())
    assert listed(lister) == [old.sha256] != [new_sha256]

    assert verify(opened(root)).errors == []
    assert opened(root).is_intact(DAY)
    assert open_dataset("BTC/USDT", market="spot", root=str(root)).to_arrow().num_rows == 1440
    assert combine(opened(root)).rows == 1440
    store = opened(root)
    assert [result.outcome for result in backfill(store, FakeSource(), whole(DAY))] == [Outcome.UNCHANGED]
    assert listed(store) == [new_sha256]
    assert [noted.new_sha256 for noted in store.revisions()] == [new_sha256]


def listed(store: DatasetStore) -> list[str]:
    """The sha256 of the chunks in the manifest."""
    return [chunk["sha256"] for chunk in json.loads((store.folder / "manifest.json").read_bytes())["chunks"]]


@pytest.fixture
def stored(root: Any) -> DatasetStore:
    """A dataset with one listed chunk."""
    store = opened(root)
    store.note_requested(span("2024-03-05", "2024-03-06"), date(2024, 3, 1))
    publish(store)
    store.flush()
    return store


def elsewhere(root: Any, pair: str, **how: Any) -> bytes:
    """The bytes of the day's chunk in another dataset."""
    other = opened(root / "elsewhere", pair)
    publish(other, **how)
    return bytes(other.chunk_path(DAY).read_bytes())


def test_a_whole_chunk_in_place_of_the_listed_one_is_damage_only_in_a_folder(root: Any, stored: DatasetStore) -> None:
    """A folder has locks, so that nobody of us can have written it."""
    stored.chunk_path(DAY).write_bytes(elsewhere(root, "BTC/USDT", values=OTHERS))
    is_damage = isinstance(root, Path)
    assert bool(verify(opened(root)).errors) == is_damage
    assert opened(root).is_intact(DAY) != is_damage


@pytest.mark.parametrize("how", ["lacks minutes", "another pair", "cut short"])
def test_what_is_not_as_good_as_the_listed_chunk_is_damage(root: Any, stored: DatasetStore, how: str) -> None:
    content = {
        "lacks minutes": lambda: elsewhere(root, "BTC/USDT", has_hole=True),
        "another pair": lambda: elsewhere(root, "ETH/USDT", values=OTHERS),
        "cut short": lambda: elsewhere(root, "BTC/USDT", values=OTHERS)[:-100],
    }[how]()
    stored.chunk_path(DAY).write_bytes(content)
    [error] = verify(opened(root)).errors
    assert error.check == MATCHES_MANIFEST
    assert not opened(root).is_intact(DAY)
