"""When the code location is reloaded: datasets that came, went, moved their first day, or cannot be read any more."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.app.code_location import CodeLocation
from market_data_pipeline.core.errors import StoreError, StoreUnavailable, Unavailable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline_tests.support import span

UTC = parse_zone("UTC")


class Loaded:
    """A Dagster that has the datasets of the store at its last reload, and counts reloads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._datasets: list[Dataset] = []
        self.default_roots = set[str]()
        self.reloads = 0
        self.is_down = self.is_backfilling = False

    def dataset_roots(self) -> set[str]:
        self._answer()
        return {f"{dataset.market.exchange_id}/{dataset.token}" for dataset in self._datasets} | self.default_roots

    def has_backfill(self) -> bool:
        self._answer()
        return self.is_backfilling

    def has_assets(self, assets: Sequence[tuple[Sequence[str], str]]) -> bool:
        self._answer()
        found = {(dataset.token, dataset.start.isoformat()) for dataset in self._datasets}
        return all((path[1], since) in found for path, since in assets)

    def reload(self) -> None:
        self._answer()
        self.reloads += 1
        self.read()

    def read(self) -> None:
        self._datasets = []
        for path in self._store.dataset_files():
            with suppress(StoreError):
                self._datasets.append(self._store.read(path))

    def _answer(self) -> None:
        if self.is_down:
            raise Unavailable("there is no webserver yet")


class PartlyAway(Store):
    """A store of which the datasets in `away` cannot be read for a while, as one behind a network."""

    away: frozenset[str] = frozenset()

    def read(self, path: StorePath) -> Dataset:
        if path.parent.parent.name in self.away:
            raise StoreUnavailable(f"{path} cannot be read now")
        return super().read(path)


@pytest.fixture
def store(tmp_path: Path) -> PartlyAway:
    return PartlyAway(tmp_path)


@pytest.fixture
def dagster(store: Store) -> Loaded:
    """One that was started with one dataset."""
    create(store, "BTC/USDT")
    loaded = Loaded(store)
    loaded.read()
    return loaded


@pytest.fixture
def location(store: Store, dagster: Loaded) -> CodeLocation:
    location = CodeLocation(store, dagster)
    location.look()
    assert dagster.reloads == 0
    return location


def create(store: Store, pair: str) -> DatasetStore:
    return store.create(Market.SPOT, pair, zone=UTC, start=date(2024, 3, 1))


def test_a_new_dataset_is_reloaded_once(store: Store, dagster: Loaded, location: CodeLocation) -> None:
    create(store, "ETH/USDT")
    location.look()
    location.look()
    assert dagster.reloads == 1


def test_one_that_was_created_before_the_first_look_is_reloaded(store: Store, dagster: Loaded) -> None:
    create(store, "ETH/USDT")
    CodeLocation(store, dagster).look()
    assert dagster.reloads == 1


def test_a_default_dataset_keeps_its_days_while_a_backfill_stores_it(
    store: Store, dagster: Loaded, location: CodeLocation
) -> None:
    """Dagster cancels a backfill of which a day is no partition any more, as one before the pair was listed."""
    dagster.default_roots, dagster.is_backfilling = {"binance/ETHUSDT"}, True
    create(store, "ETH/USDT")
    location.look()
    assert dagster.reloads == 0
    dagster.is_backfilling = False
    location.look()
    location.look()
    assert dagster.reloads == 1


def test_one_that_was_not_defined_waits_for_no_backfill(store: Store, dagster: Loaded, location: CodeLocation) -> None:
    dagster.default_roots, dagster.is_backfilling = {"binance/ETHUSDT"}, True
    create(store, "XRP/USDT")
    location.look()
    assert dagster.reloads == 1


def test_a_mark_changes_no_definition(store: Store, dagster: Loaded, location: CodeLocation) -> None:
    create(store, "BTC/USDT").mark_live(True)
    location.look()
    assert dagster.reloads == 0


def test_an_earlier_first_day_is_reloaded(store: Store, dagster: Loaded, location: CodeLocation) -> None:
    create(store, "BTC/USDT").note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    location.look()
    assert dagster.reloads == 1


def test_a_dataset_that_is_gone_or_damaged_is_reloaded(store: Store, dagster: Loaded, location: CodeLocation) -> None:
    (path,) = store.dataset_files()
    content = path.read_bytes()
    path.write_bytes(b"{}")
    location.look()
    path.write_bytes(content)
    location.look()
    path.unlink()
    location.look()
    assert dagster.reloads == 3


def test_what_a_request_needs_is_reloaded_once(store: Store, dagster: Loaded, location: CodeLocation) -> None:
    eth = create(store, "ETH/USDT").dataset
    xrp = create(store, "XRP/USDT").dataset
    location.require(eth, xrp)
    location.require(xrp)
    location.look()
    assert dagster.reloads == 1


def test_while_the_webserver_does_not_answer_nothing_is_forgotten(
    store: Store, dagster: Loaded, location: CodeLocation
) -> None:
    create(store, "ETH/USDT")
    dagster.is_down = True
    with pytest.raises(Unavailable):
        location.look()
    dagster.is_down = False
    location.look()
    assert dagster.reloads == 1


def test_one_that_cannot_be_read_for_a_while_is_read_later_and_hides_no_other(
    store: PartlyAway, dagster: Loaded, location: CodeLocation
) -> None:
    create(store, "ETH/USDT")
    store.away = frozenset({"ETHUSDT"})
    location.look()
    create(store, "XRP/USDT")
    location.look()
    location.look()
    assert dagster.dataset_roots() == {"binance/BTCUSDT", "binance/XRPUSDT"}
    before = dagster.reloads
    store.away = frozenset()
    location.look()
    location.look()
    assert (dagster.reloads, "binance/ETHUSDT" in dagster.dataset_roots()) == (before + 1, True)


def test_a_known_one_that_cannot_be_read_for_a_while_stays_as_it_was(
    store: PartlyAway, dagster: Loaded, location: CodeLocation
) -> None:
    create(store, "BTC/USDT").mark_live(True)  # the file is another one now
    store.away = frozenset({"BTCUSDT"})
    location.look()
    store.away = frozenset()
    location.look()
    assert dagster.reloads == 0
