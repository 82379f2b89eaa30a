"""An empty data root with its Dagster instance, and a simulated exchange on a free port."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.defs.loading import Loading, loading, settings_of


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    """Runs on an empty data root. DAGSTER_HOME and the handlers of `loader.log` are restored afterwards."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    logger = logging.getLogger("market_data_pipeline")
    before = list(logger.handlers)
    with (
        serve(SimulatedExchange(weights=False)) as running,
        loading(settings_of(tmp_path, running.url), running.exchange) as set_up,
    ):
        yield set_up
    for handler in set(logger.handlers) - set(before):
        for each in (logger, logging.getLogger("sqlalchemy.pool")):
            each.removeHandler(handler)
        handler.close()
