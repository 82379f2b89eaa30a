"""A snapshot that is made in a bucket while another process replaces a chunk: whatever it names can be read."""

from collections.abc import Callable
from typing import Any

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.proving import prove_snapshot
from market_data_pipeline.core.store.snapshots.removing import remove_snapshot
from market_data_pipeline_tests.core.fakes import UTC_ZONE
from market_data_pipeline_tests.core.store.test_moving_starts import once
from market_data_pipeline_tests.core.store.test_revisions import DAY, FIRST, NOON, WINDOW, opened, publish
from market_data_pipeline_tests.core.store.test_snapshots import as_of, kept, named, stored
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request
from market_data_pipeline_tests.places import in_bucket

CHUNK = f"chunk_000005_{DAY.key}.parquet"


@pytest.fixture
def root(proxy: ObjectsProxy) -> Any:
    """The root of a dataset with a day."""
    root = in_bucket()
    store = Store(root, manifest_interval_s=0)
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    made.note_requested(WINDOW, FIRST)
    publish(made)
    return root


def put(ending: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "PUT" and request.key.endswith(ending)


def lists(request: Request) -> bool:
    return request.method == "GET" and "snapshots" in request.query


WHILE_REPLACING = {
    "the chunk is read": lambda request: request.method == "GET" and request.key.endswith(CHUNK),
    "the chunk is kept": lambda request: request.method == "PUT" and "/kept/" in request.key,
    "it is taken off the list": lambda request: request.method == "PUT" and request.key.endswith("1m/manifest.json"),
    "the chunk is replaced": put(CHUNK),
    "snapshots are looked for": lists,
    "the kept one is removed": lambda request: request.method == "DELETE" and "/kept/" in request.key,
}
WHILE_MAKING = {
    "it begins": put("snapshots/.lock"),
    "the dataset is written": lambda request: request.method == "PUT" and "snapshots/one/binance" in request.key,
    "the list is written": put("1m/manifest.json"),
    "chunks are looked at": lambda request: request.method in {"HEAD", "GET"} and request.key.endswith(CHUNK),
    "it is finished": put("snapshot.json"),
}


def require_whole(root: Any) -> None:
    """What the snapshot names can be read, and is what the chunk was before or is now."""
    assert prove_snapshot(Store(root), "one").problems == ()
    assert set(as_of(Store(root))) == {DAY.key}


@pytest.mark.parametrize("where", WHILE_REPLACING)
def test_a_snapshot_that_is_made_while_a_chunk_is_replaced(root: Any, proxy: ObjectsProxy, where: str) -> None:
    before, writer = stored(opened(root)), opened(root)
    proxy.loses = once(WHILE_REPLACING[where], lambda: named(Store(root)))
    publish(writer, {NOON: {"volume": 7.0}})
    writer.flush()
    proxy.loses = lambda _: False
    if "one" not in {path.name for path in (root / "snapshots").iterdir()}:
        pytest.fail(f"it never came to pass that {where}")
    require_whole(root)
    assert as_of(Store(root)) in (before, stored(opened(root)))


@pytest.mark.parametrize("where", WHILE_MAKING)
def test_a_chunk_that_is_replaced_while_a_snapshot_is_made(root: Any, proxy: ObjectsProxy, where: str) -> None:
    writer = opened(root)

    def replace() -> None:
        publish(writer, {NOON: {"volume": 7.0}})
        writer.flush()

    proxy.loses = once(WHILE_MAKING[where], replace)
    named(Store(root))
    proxy.loses = lambda _: False
    require_whole(root)
    publish(opened(root), {NOON: {"volume": 9.0}})
    require_whole(root)


@pytest.mark.parametrize("where", WHILE_REPLACING)
def test_a_snapshot_that_is_removed_while_a_chunk_is_replaced(root: Any, proxy: ObjectsProxy, where: str) -> None:
    named(Store(root), "one")
    named(Store(root), "two")
    before, writer = as_of(Store(root)), opened(root)
    proxy.loses = once(WHILE_REPLACING[where], lambda: remove_snapshot(Store(root), "two"))
    publish(writer, {NOON: {"volume": 7.0}})
    proxy.loses = lambda _: False
    assert as_of(Store(root)) == before
    require_whole(root)


def test_what_no_snapshot_names_is_not_kept_in_the_end(root: Any, proxy: ObjectsProxy) -> None:
    publish(opened(root), {NOON: {"volume": 7.0}})
    assert kept(opened(root)) == []
    wrote = [request for request in proxy.requests if "/kept/" in request.key]
    assert [request.method for request in wrote] == ["PUT", "DELETE"]
