"""A fresh data root with its Dagster instance, and an exchange on a free port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.defs.loading import Loading, loading, settings_of


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    """Set up once for a test; `open_instance` sets DAGSTER_HOME, which the test puts back."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    with (
        serve(SimulatedExchange(weights=False)) as running,
        loading(settings_of(tmp_path, running.url), running.exchange) as set_up,
    ):
        yield set_up
