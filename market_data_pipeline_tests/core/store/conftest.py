"""The store in each place: a folder and buckets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket, in_memory

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("seaweedfs", "moto")]
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


@pytest.fixture
def direct(seaweedfs: str) -> str:
    """The address of the object store behind `proxy`."""
    return seaweedfs


@pytest.fixture
def proxy(direct: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectsProxy]:
    """The way to the object store of roots in a bucket, on which requests can be held and answers lost."""
    with proxied(direct) as running:
        for name, value in environment_of(running.url).items():
            monkeypatch.setenv(name, value)
        yield running
