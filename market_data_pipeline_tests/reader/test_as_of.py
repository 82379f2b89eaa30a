"""Klines as a snapshot has them are the same at any time, to the byte: tables, absences, panels, exports."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import market_data_pipeline as mdp
from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.reader import open_dataset, open_panel
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, span
from market_data_pipeline_tests.places import environment_of, in_bucket
from market_data_pipeline_tests.reader.test_panel import PairSource
from market_data_pipeline_tests.support import everything

PLACES = ["folder", *(pytest.param(name, marks=pytest.mark.slow) for name in ("seaweedfs", "moto"))]
WINDOW, LATER = span("2024-03-05T00:00Z", "2024-03-09T00:00Z"), span("2024-03-09T00:00Z", "2024-03-11T00:00Z")
EARLIER = span("2024-03-01T00:00Z", "2024-03-03T00:00Z")
HALT = span("2024-03-06T04:00Z", "2024-03-06T05:30Z")
PAIRS = ("BTC/USDT", "ETH/USDT")


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store that the reader finds by its address."""
    if request.param == "folder":
        return Store(tmp_path / "root")
    for name, value in environment_of(request.getfixturevalue(request.param)).items():
        monkeypatch.setenv(name, value)
    return Store(in_bucket())


def load(store: Store, pair: str, window: Any = WINDOW, source: FakeSource | None = None, **options: Any) -> None:
    made = store.create(Market.SPOT, pair, zone=UTC_ZONE, start=date(2024, 3, 5))
    made.note_requested(window, datetime.fromtimestamp(window.start_ms / 1000, UTC).date())
    list(backfill(made, source or FakeSource(missing=[HALT]), window, **options))


def revise(store: Store, pair: str) -> None:
    """The exchange has other prices than before, and the days are loaded again."""
    load(store, pair, WINDOW, PairSource(missing=[HALT], factor=3), refetch=True)


@pytest.fixture
def loaded(store: Store) -> Store:
    for pair in PAIRS:
        load(store, pair)
    (store.root / "market-data.toml").write_text('[universe.mine]\nmarket = "spot"\npairs = ["*"]\n', encoding="utf-8")
    mdp.snapshot("paper", root=str(store.root))
    return store


def seen(root: Any) -> dict[str, Any]:
    """Everything that the reader says of a snapshot."""
    where = {"market": "spot", "root": str(root), "as_of": "paper"}
    btc = open_dataset("BTC/USDT", **where)
    panel = open_panel("*", ("close", "trades"), **where)
    return {
        "table": btc.to_arrow(),
        "hours": btc.resample("1h").to_arrow(),
        "absences": btc.absences(),
        "flaws": btc.flaws(),
        "days": btc.days(),
        "extent": btc.extent(),
        "pairs": panel.pairs,
        "wide": panel.wide().to_arrow(),
        "long": panel.long().to_arrow(),
        "mask": panel.mask().to_arrow(),
        "universe": open_panel(universe="mine", **{**where, "market": None}).pairs,
    }


def combine_all(store: Store) -> None:
    combine(opened(store))


def change_the_universe(store: Store) -> None:
    (store.root / "market-data.toml").write_text("", encoding="utf-8")


def revise_and_move(store: Store) -> None:
    revise(store, "BTC/USDT")
    load(store, "BTC/USDT", EARLIER)


CHANGES: dict[str, Callable[[Store], None]] = {
    "values are revised": lambda store: revise(store, "BTC/USDT"),
    "days are added": lambda store: load(store, "BTC/USDT", LATER),
    "another pair is added": lambda store: load(store, "NEW/USDT"),
    "the start moves": lambda store: load(store, "BTC/USDT", EARLIER),
    "the start moves after a revision": revise_and_move,
    "the universe is changed": change_the_universe,
    "all is combined": combine_all,
}


def opened(store: Store) -> DatasetStore:
    dataset = store.find(Market.SPOT, "BTC/USDT")
    assert dataset
    return store.open(dataset)


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_that_happens_later_changes_what_is_read(loaded: Store, change: str) -> None:
    before = seen(loaded.root)
    CHANGES[change](loaded)
    assert seen(loaded.root) == before
    assert mdp.verify_snapshot("paper", root=str(loaded.root)).ok


def test_today_is_read_without_it(loaded: Store) -> None:
    before = seen(loaded.root)["table"]
    revise(loaded, "BTC/USDT")
    load(loaded, "BTC/USDT", LATER)
    now = open_dataset("BTC/USDT", market="spot", root=str(loaded.root)).to_arrow()
    assert now.num_rows == before.num_rows + LATER.minutes
    assert not now.slice(0, before.num_rows).equals(before)
    assert open_dataset("BTC/USDT", market="spot", root=str(loaded.root), as_of="paper").to_arrow().equals(before)


def test_more_than_a_month_is_read_from_chunks_that_the_combined_file_has_not(store: Store) -> None:
    window = span("2024-03-05T00:00Z", "2024-04-20T00:00Z")
    load(store, "BTC/USDT", window)
    combine_all(store)
    mdp.snapshot("paper", "BTC*", market="spot", root=str(store.root))
    where = {"market": "spot", "root": str(store.root), "as_of": "paper"}
    before = open_dataset("BTC/USDT", **where).to_arrow()
    revise(store, "BTC/USDT")
    assert open_dataset("BTC/USDT", **where).to_arrow().equals(before)
    combine_all(store)
    assert open_dataset("BTC/USDT", **where).to_arrow().equals(before)


def test_a_list_that_is_damaged_or_missing_is_no_empty_table(loaded: Store) -> None:
    klines = open_dataset("BTC/USDT", market="spot", root=str(loaded.root), as_of="paper")
    path = loaded.root / "snapshots" / "paper" / "binance" / "BTCUSDT" / "1m" / "manifest.json"
    path.write_text("{", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(StoreError, match="is missing or damaged; market-data verify --snapshot paper tells"):
            klines.to_arrow()
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("panel", [None, "long", "wide"])
def test_an_export_of_a_snapshot_is_the_same_bytes(loaded: Store, tmp_path: Path, panel: str | None) -> None:
    def exported(name: str) -> dict[str, bytes]:
        where = {"market": "spot", "root": str(loaded.root), "as_of": "paper", "panel": panel}
        mdp.export("*", format="csv", output=tmp_path / name, **where)
        return {name: content for name, content in everything(tmp_path / name).items() if name.endswith(".csv")}

    before = exported("before")
    revise(loaded, "BTC/USDT")
    load(loaded, "NEW/USDT")
    assert exported("after") == before


def test_what_cannot_be_is_one_line(loaded: Store, tmp_path: Path) -> None:
    where: dict[str, Any] = {"market": "spot", "root": str(loaded.root)}
    load(loaded, "NEW/USDT")
    with pytest.raises(UsageError, match="no snapshot 'other' under .*; there are: paper"):
        open_dataset("BTC/USDT", as_of="other", **where)
    with pytest.raises(UsageError, match="the snapshot paper has no spot NEW/USDT"):
        open_dataset("NEW/USDT", as_of="paper", **where)
    with pytest.raises(UsageError, match="the snapshot paper has no spot NEW/USDT"):
        open_panel(["BTC/USDT", "NEW/USDT"], as_of="paper", **where)
    with pytest.raises(UsageError, match=r"'NEW\*' matches no pair that the snapshot has$"):
        open_panel("NEW*", as_of="paper", **where)
    with pytest.raises(UsageError, match=r"'NEW\*' matches no pair that the snapshot has$"):
        mdp.export("NEW*", format="csv", output=tmp_path / "out", as_of="paper", **where)
    with pytest.raises(UsageError, match="no name of a snapshot: '../..'"):
        open_dataset("BTC/USDT", as_of="../..", **where)


def test_a_universe_that_a_snapshot_lacks_is_not_to_be_written_into_it(loaded: Store, tmp_path: Path) -> None:
    text = '[universe.yours]\nmarket = "spot"\npairs = ["*"]\n'
    (loaded.root / "market-data.toml").unlink()
    mdp.snapshot("earlier", root=str(loaded.root))
    (loaded.root / "market-data.toml").write_text(text, encoding="utf-8")
    for name, has in (("earlier", "none"), ("paper", "mine")):
        said = f"^the snapshot {name} has no universe 'yours': it has {has}; name the pairs in its place$"
        with pytest.raises(UsageError, match=said):
            open_panel(universe="yours", as_of=name, root=str(loaded.root))
        with pytest.raises(UsageError, match=said):
            mdp.export(format="csv", output=tmp_path, universe="yours", as_of=name, root=str(loaded.root))


def test_a_kept_chunk_that_is_lost_is_said_with_what_tells_more(loaded: Store) -> None:
    revise(loaded, "BTC/USDT")
    for path in (opened(loaded).folder / "kept").iterdir():
        path.unlink()
    klines = open_dataset("BTC/USDT", market="spot", root=str(loaded.root), as_of="paper")
    with pytest.raises(StoreError, match="neither in its place nor kept; market-data verify --snapshot paper tells"):
        klines.to_arrow()
    assert isinstance(klines.absences(), list)
