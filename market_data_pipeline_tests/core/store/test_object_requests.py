"""Requests to an object store: reading by ranges, what it must give, and for how long it counts as away."""

import errno
import io
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from market_data_pipeline.core.errors import StoreError, StoreUnavailable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.snapshots.lists import find_snapshot
from market_data_pipeline.core.store.storage import objects
from market_data_pipeline.core.store.storage.opening import Patience
from market_data_pipeline.core.store.storage.places import hurried, storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request
from market_data_pipeline_tests.places import in_bucket
from market_data_pipeline_tests.powerloss import object_server

CONTENT = bytes(range(256)) * 1200
"""More than is read at once."""
LONG = CONTENT * 40
"""More than is sent at once."""


@pytest.fixture(params=["own_server"])
def direct(request: pytest.FixtureRequest) -> str:
    """The address of the server of objects in this process."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def root(proxy: ObjectsProxy) -> Any:
    return in_bucket()


@pytest.fixture
def file(root: Any) -> Iterator[pa.NativeFile]:
    """An object that is open."""
    (root / "file").write_bytes(CONTENT)
    with storage_of(root).open(root / "file") as opened:
        yield opened


def test_an_object_is_read_at_any_position(file: pa.NativeFile) -> None:
    assert (file.size(), file.read(10), file.tell()) == (len(CONTENT), CONTENT[:10], 10)
    file.seek(200_000)
    assert file.read(100_000) == CONTENT[200_000:300_000]
    file.seek(-7, io.SEEK_END)
    assert (file.read(100), file.read(1)) == (CONTENT[-7:], b"")
    file.seek(5)
    file.seek(6, io.SEEK_CUR)
    assert file.read(3) == CONTENT[11:14]
    file.seek(0)
    assert file.read() == CONTENT
    file.seek(len(CONTENT) + 1)
    assert file.read(1) == b""


def test_of_a_long_object_only_the_part_that_is_asked_for_comes_here(root: Any, proxy: ObjectsProxy) -> None:
    path = root / "file"
    path.write_bytes(bytes(3_000_000))
    with storage_of(root).open(path) as file:
        file.seek(1_500_000)
        proxy.requests.clear()
        assert len(file.read(1000)) == 1000
    assert len(proxy.requests) == 1
    assert proxy.sent_bytes[-1] < 100_000


def test_an_object_that_is_replaced_while_it_is_read_is_told_from_a_damaged_one(root: Any, file: pa.NativeFile) -> None:
    file.read(10)
    (root / "file").write_bytes(CONTENT[::-1])
    file.seek(200_000)
    with pytest.raises(OSError, match="it was replaced while it was read; read it again") as refused:
        file.read(10)
    assert refused.value.errno == errno.ESTALE
    assert str(refused.value.filename) == str(root / "file")


@pytest.mark.parametrize(
    "there",
    [None, LONG[:-1], LONG + b"!", LONG[:-1] + b"!", b""],
    ids=["nothing", "a shorter one", "a longer one", "another one", "an empty one"],
)
def test_an_upload_that_the_store_has_forgotten_is_there_only_if_all_of_it_is(
    root: Any, proxy: ObjectsProxy, there: bytes | None
) -> None:
    path = root / "file"
    if there is not None:
        path.write_bytes(there)
    forget_uploads(proxy)
    with pytest.raises(FileNotFoundError), storage_of(root).streamed(path) as file:
        file.write(LONG)
    assert path.exists() == (there is not None)


def test_an_upload_that_the_store_has_finished_and_forgotten_is_good(root: Any, proxy: ObjectsProxy) -> None:
    path = root / "file"
    path.write_bytes(LONG)
    forget_uploads(proxy)
    with storage_of(root).streamed(path) as file:
        file.write(LONG)
    assert path.read_bytes() == LONG
    assert proxy.forgotten


def forget_uploads(proxy: ObjectsProxy) -> None:
    """Let the server know of no upload at its end."""

    def loses(request: Request) -> bool:
        proxy.forgotten |= {part for part in request.query.split("&") if part.startswith("uploadId=")}
        return False

    proxy.loses = loses


def test_a_server_that_gives_no_etag_is_no_place_for_a_root(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written = object_server._Handler._send

    def without(handler: Any, status: int, content: bytes, headers: Any) -> None:
        written(handler, status, content, {name: value for name, value in headers.items() if name != "ETag"})

    monkeypatch.setattr(object_server._Handler, "_send", without)
    began_s = time.monotonic()
    with pytest.raises(StoreError, match="the object store gives no ETag, by which a change is noticed") as refused:
        Store(root).require_writable()
    assert str(root) in str(refused.value)
    with pytest.raises(OSError, match="gives no ETag"):
        storage_of(root).write(root / "file", b"any")
    assert time.monotonic() - began_s < 20, "it was asked again and again"


# --- an object store that is away


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for an answer, so that a test need not."""
    for name in ("OF_READERS", "OF_LOADS"):
        monkeypatch.setattr(objects, name, Patience(5, 5, 5, 0, 0.2))
    monkeypatch.setattr(objects, "_NEVER_ANSWERED_S", 0.0)


class Clock:
    """The clock of the module, which goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.mark.usefixtures("_impatient")
def test_a_reader_does_not_wait_again_for_who_did_not_answer_until_some_time_has_passed(
    root: Any, proxy: ObjectsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(objects, "time", clock)
    (root / "file").write_bytes(CONTENT)
    reader = hurried(root)
    storage = storage_of(reader)
    assert storage.read(reader / "file", 1 << 20) == CONTENT
    proxy.loses = lambda _: True
    with pytest.raises(OSError, match="does not answer") as first:
        storage.read(reader / "file", 1 << 20)
    proxy.loses = lambda _: False
    proxy.requests.clear()
    clock.now_s += 1.9
    with pytest.raises(OSError, match="does not answer") as second:
        storage.read(reader / "other", 1 << 20)
    assert proxy.requests == []
    assert (second.value.errno, second.value.strerror) == (errno.EIO, first.value.strerror)
    assert second.value.filename == str(reader / "other")
    clock.now_s += 0.2
    assert storage.read(reader / "file", 1 << 20) == CONTENT


@pytest.mark.usefixtures("_impatient")
def test_a_snapshot_that_cannot_be_read_now_is_not_taken_for_damaged(root: Any, proxy: ObjectsProxy) -> None:
    proxy.loses = lambda _: True
    with pytest.raises(StoreUnavailable, match="does not answer.*check the network"):
        find_snapshot(root, "one")


@pytest.mark.usefixtures("_impatient")
def test_a_bucket_that_goes_away_is_no_damage_of_its_datasets(root: Any, proxy: ObjectsProxy) -> None:
    store = Store(root)
    store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2024, 3, 1)).mark_live(True)
    proxy.loses = lambda request: request.method == "GET" and request.key.endswith("dataset.json")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.marked()


@pytest.mark.usefixtures("_impatient")
def test_a_load_asks_again_at_once(root: Any, proxy: ObjectsProxy) -> None:
    (root / "file").write_bytes(CONTENT)
    proxy.loses = lambda _: True
    with pytest.raises(OSError, match="does not answer"):
        storage_of(root).read(root / "file", 1 << 20)
    proxy.loses = lambda _: False
    assert (root / "file").read_bytes() == CONTENT


@pytest.mark.usefixtures("_impatient")
def test_what_is_refused_or_not_there_is_an_answer(root: Any, proxy: ObjectsProxy) -> None:
    """After it a reader goes on asking, though one file is missing and another one was written by somebody else."""
    reader = hurried(root)
    storage = storage_of(reader)
    with pytest.raises(FileNotFoundError):
        storage.read(reader / "file", 1 << 20)
    storage.write(reader / "file", b"first", None)
    with pytest.raises(StoreError, match="was written by another process"):
        storage.write(reader / "file", b"second", None)
    assert storage.read(reader / "file", 1 << 20) == b"first"


@pytest.mark.usefixtures("_impatient")
def test_a_manifest_of_a_newer_version_is_not_rewritten_after_it_could_not_be_read(
    root: Any, proxy: ObjectsProxy
) -> None:
    path, newer = root / "manifest.json", b'{"format": 2, "chunks": {}}'
    path.write_bytes(newer)
    file = ManifestFile(path, Dataset(Market.SPOT, "BTC/USDT", UTC_ZONE, date(2024, 3, 1)))
    assert file.entries() is None and file.is_newer
    proxy.loses = lambda _: True
    with pytest.raises(OSError, match="does not answer"):
        file.entries()
    proxy.loses = lambda _: False
    with pytest.raises(StoreError, match="a newer version of market-data wrote it"):
        file.update(file.dataset, lambda _: {})
    assert path.read_bytes() == newer
