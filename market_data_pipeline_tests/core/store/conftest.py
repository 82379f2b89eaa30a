"""The store in each place: a folder and buckets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket, in_memory
from market_data_pipeline_tests.powerloss.object_server import serving

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("seaweedfs", "moto")]
SERVERS = ["own_server", *SLOW]
"""For `direct`: servers of objects, of which the first one is in this process and so needs no time to start."""
PLACES = ["folder", "memory", *SLOW]
"""For `root`: those of a test that needs no other process to find what it has written."""
SHARED_PLACES = ["folder", *SLOW]
"""For `root`, by `pytest.mark.parametrize` with `indirect`: those that several processes can write to."""

in_a_folder = pytest.mark.parametrize("root", ["folder"], indirect=True)
"""Decorates a test of what only a folder can be, or a test that another program reads."""


@pytest.fixture(params=PLACES)
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty data root."""
    if request.param == "folder":
        return tmp_path
    if request.param == "memory":
        return in_memory()
    for name, value in environment_of(request.getfixturevalue(request.param)).items():
        monkeypatch.setenv(name, value)
    return in_bucket()


@pytest.fixture
def store(root: Any) -> Store:
    """Writes its manifests only when told to, or at the end of a backfill."""
    return Store(root, manifest_interval_s=3600)


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """The address of a server of objects in this process."""
    with serving() as server:
        yield server.url


@pytest.fixture(params=SERVERS[:2])
def direct(request: pytest.FixtureRequest) -> str:
    """The address of the object store behind `proxy`."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def proxy(direct: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectsProxy]:
    """The way to the object store of roots in a bucket, on which requests can be held and answers lost."""
    with proxied(direct) as running:
        for name, value in environment_of(running.url).items():
            monkeypatch.setenv(name, value)
        yield running
