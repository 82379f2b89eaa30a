"""Many writers of one new dataset at once: what each of them saw is one history, and its end is one truth."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import day, klines_of, whole
from market_data_pipeline_tests.core.store.conftest import SHARED_PLACES
from market_data_pipeline_tests.core.store.history import contradictions, story
from market_data_pipeline_tests.core.store.racing import DAYS, LAST_FIRST, opened, raced
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, broken_chains, last_version, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket

# Processes, and threads of each.
WRITERS = [pytest.param((4, 2), id="8"), pytest.param((8, 4), id="32", marks=[pytest.mark.soak, pytest.mark.slow])]
WRITTEN = ("dataset.json", "manifest.json", ".parquet")


class Place(NamedTuple):
    """An empty data root; in a bucket with the proxy that notes all requests."""

    root: Any
    proxy: ObjectsProxy | None


@pytest.fixture(params=SHARED_PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "folder":
        yield Place(tmp_path, None)
        return
    with proxied(request.getfixturevalue(request.param)) as proxy:
        for name, value in environment_of(proxy.url).items():
            monkeypatch.setenv(name, value)
        yield Place(in_bucket(), proxy)


@pytest.mark.parametrize("writers", WRITERS)
def test_many_writers_of_a_new_dataset_end_with_one_truth(place: Place, writers: tuple[int, int]) -> None:
    events = raced(place.root, *writers)
    assert list(contradictions(events)) == [], story(events, place.proxy.requests if place.proxy else ())
    count = writers[0] * writers[1]
    assert len([event for event in events if event.wrote]) >= count * len(DAYS) * 2
    require_one_truth(place)


def require_one_truth(place: Place) -> None:
    """One whole chunk a day, which the manifest has as it is, and all that was asked for."""
    store = opened(place.root)
    assert store.warnings == []
    assert store.dataset.start == LAST_FIRST
    assert store.dataset.requested == (Span(day(DAYS[0]).start_ms, day(DAYS[-1]).end_ms),)
    listed = json.loads((store.folder / "manifest.json").read_bytes())["chunks"]
    assert [chunk["day"] for chunk in listed] == DAYS
    paths = {path.name: path for path in (store.folder / "chunks").iterdir()}
    assert sorted(paths) == [chunk["file"] for chunk in listed]
    for chunk in listed:
        assert sha256_of(paths[chunk["file"]].read_bytes()) == chunk["sha256"]
        assert store.read(day(chunk["day"])).klines.equals(klines_of(whole(day(chunk["day"]))))
    assert verify(store).findings == []
    if place.proxy:
        require_one_chain(place.proxy, [store.folder / "dataset.json", store.folder / "manifest.json", *paths.values()])


def require_one_chain(proxy: ObjectsProxy, paths: list[Any]) -> None:
    """No write was lost: each one named the version before it, and the last one is there."""
    # Nobody relies on what is written under the name of an old start.
    old = {request.key for request in proxy.requests if request.method == "DELETE"}
    assert list(broken_chains(proxy.requests, lambda key: key.endswith(WRITTEN) and key not in old)) == []
    for path in paths:
        version = storage_of(path).version(path)
        assert version.etag.strip('"') == last_version(proxy.requests, f"{path.root.rpartition('/')[2]}/{path.key}")
