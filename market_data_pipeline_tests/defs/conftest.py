"""An empty data root with its Dagster instance, and a simulated exchange on a free port."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from market_data_pipeline.instance import runs
from market_data_pipeline_tests.defs.loading import Loading, beside_an_exchange


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home that has just been created, which takes longer than many a run."""
    home = tmp_path_factory.mktemp("empty") / "dagster"
    with runs.open_instance(home):
        return home


@pytest.fixture
def load(tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    """Runs on an empty data root. DAGSTER_HOME and the handlers of `loader.log` are restored afterwards."""
    home = tmp_path / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    if not home.exists():
        shutil.copytree(empty_home, home)
    with beside_an_exchange(tmp_path) as set_up:
        yield set_up
