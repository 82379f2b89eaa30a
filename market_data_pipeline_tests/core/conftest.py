"""A store in a fresh folder, with one dataset made."""

from datetime import date

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE


@pytest.fixture
def store(tmp_path) -> Store:
    """Writes its manifests only when told to, or at the end of a backfill."""
    return Store(tmp_path, manifest_interval_s=3600)


@pytest.fixture
def made(store) -> DatasetStore:
    """A dataset without chunks, starting 2024-03-01."""
    return store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2024, 3, 1))
