"""The object store does what it is asked, and the answer is lost: nothing is done twice, nothing is lost."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Changed
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, span
from market_data_pipeline_tests.core.store.conftest import SERVERS
from market_data_pipeline_tests.objects_proxy import Cut, ObjectsProxy, Request, broken_chains
from market_data_pipeline_tests.places import ReadablePath, in_bucket
from market_data_pipeline_tests.servers import BUCKET, KEY, SECRET

BIG = bytes(range(256)) * 48 * 1024
WINDOW = span("2024-03-01T10:00Z", "2024-03-08T12:00Z")


@pytest.fixture(params=SERVERS)
def direct(request: pytest.FixtureRequest) -> str:
    """The address of the object store itself."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def root(proxy: ObjectsProxy) -> ReadablePath:
    """In a store that has answered once: one that never has is not asked for long."""
    root = in_bucket()
    assert not root.exists()
    return root


@pytest.fixture(params=list(Cut), ids=lambda cut: cut.name.lower())
def proxy(proxy: ObjectsProxy, request: pytest.FixtureRequest) -> ObjectsProxy:
    """The way to it, on which connections end in each way."""
    proxy.cut = request.param
    return proxy


def any_write(request: Request) -> bool:
    return request.method in {"PUT", "POST", "DELETE"}


def test_a_write_whose_answer_is_lost_is_done_once(root: Any, proxy: ObjectsProxy) -> None:
    files, path = storage_of(root), root / "file"
    proxy.lose_each_once(any_write)
    files.write(path, b"any")
    assert path.read_bytes() == b"any"
    assert len(proxy.lost) == 1


def test_a_conditional_write_whose_answer_is_lost_is_no_conflict(root: Any, proxy: ObjectsProxy) -> None:
    files, path = storage_of(root), root / "file"
    proxy.lose_each_once(any_write)
    created = files.write(path, b"first", None)
    proxy.lose_each_once(any_write)
    updated = files.write(path, b"second", created)
    assert (path.read_bytes(), files.version(path)) == (b"second", updated)
    assert len(proxy.lost) == 2
    with pytest.raises(Changed):
        files.write(path, b"third", created)


@pytest.mark.parametrize("expected", ["none", "a version"])
def test_what_another_one_wrote_after_a_write_whose_answer_is_lost_stays(
    root: Any, proxy: ObjectsProxy, direct: str, expected: str
) -> None:
    files, path = storage_of(root), root / "file"
    version = None if expected == "none" else files.write(path, b"before")
    proxy.loses = lambda _: bool(not proxy.lost and written_by_another(direct, path, b"theirs"))
    with pytest.raises(Changed):
        files.write(path, b"mine", version)
    assert path.read_bytes() == b"theirs"
    assert len(proxy.lost) == 1


def written_by_another(address: str, path: Any, content: bytes) -> bool:
    """Write an object of the same bucket without the proxy; True."""
    prefix = path.root.rpartition("/")[2]
    store = S3Store(
        BUCKET,
        endpoint=address,
        access_key_id=KEY,
        secret_access_key=SECRET,
        region="us-east-1",
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    obstore.put(store, f"{prefix}/{path.key}", content)
    return True


def test_a_removal_whose_answer_is_lost_is_done(root: Any, proxy: ObjectsProxy) -> None:
    files, path = storage_of(root), root / "file"
    path.write_bytes(b"content")
    proxy.lose_each_once(any_write)
    files.remove(path)
    assert not path.exists()
    assert len(proxy.lost) == 1


@pytest.mark.parametrize("forgets", [False, True])
def test_a_long_file_of_which_each_answer_is_lost_once_is_there_whole(
    root: Any, proxy: ObjectsProxy, forgets: bool
) -> None:
    """Some object stores take the end of an upload twice; others forget it with the first one."""
    files, path = storage_of(root), root / "file"
    seen: set[tuple[str, str]] = set()

    def loses(request: Request) -> bool:
        mark = request.method, re.sub("uploadId=[^&]+", "uploadId", request.query)
        is_first = any_write(request) and mark not in seen
        seen.add(mark)
        if forgets and request.method == "POST" and "uploadId" in request.query:
            proxy.forgotten.add(request.query)
        return is_first

    proxy.loses = loses
    with files.streamed(path) as file:
        file.write(BIG)
    assert path.read_bytes() == BIG
    # The beginning, each part and the end.
    assert len(proxy.lost) >= 4
    assert bool(proxy.forgotten) == forgets


def test_a_long_file_is_not_taken_for_another_one(root: Any, proxy: ObjectsProxy) -> None:
    files, path = storage_of(root), root / "file"
    path.write_bytes(BIG[:-1] + b"!")

    def loses(request: Request) -> bool:
        proxy.forgotten |= {f"uploadId={upload}" for upload in re.findall("uploadId=([^&]+)", request.query)}
        return False

    proxy.loses = loses
    with pytest.raises(FileNotFoundError), files.streamed(path) as file:
        file.write(BIG)
    assert path.read_bytes() == BIG[:-1] + b"!"


def test_a_load_of_which_each_first_answer_is_lost_is_that_of_a_quiet_day(
    root: Any, proxy: ObjectsProxy, tmp_path: Path
) -> None:
    proxy.lose_each_once(any_write)
    assert loaded(root) == loaded(tmp_path)
    assert len(proxy.lost) >= 10
    assert list(broken_chains(proxy.requests, lambda key: "/chunks/" in key or key.endswith("manifest.json"))) == []


def loaded(root: Any) -> dict[str, bytes]:
    """The files of a dataset that was loaded, and of which a day was replaced."""
    store = Store(root, manifest_interval_s=0).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2024, 3, 1))
    for window in (WINDOW, span("2024-03-01", "2024-03-09")):
        assert {result.outcome for result in backfill(store, FakeSource(), window)} <= {
            Outcome.LOADED,
            Outcome.UNCHANGED,
        }
    assert store.warnings == []
    files = [*store.folder.glob("*.json"), *store.folder.glob("chunks/*")]
    return {path.name: path.read_bytes() for path in files}
