"""Settings of a fresh data root and an exchange whose clock goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from market_data_pipeline.app.backfill import BackfillReport, BackfillRequest, backfill
from market_data_pipeline.app.targets import Target, target_of
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.defs.loading import settings_of
from market_data_pipeline_tests.support import simulated

Load = Callable[..., BackfillReport]


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with simulated(SimulatedExchange(weights=False)) as started:
        yield started


@pytest.fixture
def settings(tmp_path: Path, running: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return settings_of(tmp_path, running.url)


@pytest.fixture
def target(settings: Settings) -> Target:
    return target_of(settings, "spot", "BTC/USDT")


@pytest.fixture
def load(settings: Settings, target: Target) -> Load:
    """Backfill days of spot BTC/USDT."""

    def loaded(start: str, end: str, **options: bool) -> BackfillReport:
        request = BackfillRequest(target, start, end, **options)
        return backfill(settings, request, on_start=lambda *_: None, on_day=lambda _: None)

    return loaded
