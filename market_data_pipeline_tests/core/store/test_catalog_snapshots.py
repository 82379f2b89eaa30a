"""The catalog's snapshots: one a day, the newest that is whole counts, and what was learned is of its day alone."""

import io
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market_data_pipeline.core.catalog.pairs import ListedPair, PairKind, PairStatus, Snapshot, TradedDays
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.storage.places import storage_of

DAY = date(2024, 5, 1)
BTC = ListedPair(
    Market.SPOT, "BTC/USDT", "BTC", "USDT", PairKind.SPOT, PairStatus.TRADING, (TradedDays(date(2017, 8, 17), None),)
)
GONE = ListedPair(
    Market.SPOT, "GONE/USDT", "GONE", "USDT", PairKind.SPOT, PairStatus.ENDED,
    (TradedDays(date(2018, 1, 1), date(2019, 1, 1)), TradedDays(date(2021, 1, 1), date(2024, 4, 28))),
    1_714_262_400_000, date(2024, 4, 28),
)  # fmt: skip
BOTH = Snapshot(Market.SPOT, DAY, (BTC, GONE), ("no listing of GONE",), without_archive=True)


@pytest.fixture
def catalog(root: Any) -> CatalogStore:
    made = CatalogStore(root, Market.SPOT)
    with made.lock():
        return made


def again(of: CatalogStore, root: Any) -> CatalogStore:
    """As another process would open it."""
    return CatalogStore(root, of.market)


def damaged(catalog: CatalogStore, content: bytes) -> list[str]:
    """What is warned of if a snapshot of the day after has this content."""
    path = catalog.write(replace(BOTH, day=DAY + timedelta(days=1)))
    storage_of(path).write(path, content)
    assert catalog.newest() == BOTH
    assert catalog.newest() == BOTH
    warnings = list(catalog.warnings)
    catalog.warnings.clear()
    return warnings


def test_a_snapshot_is_read_as_it_was_written(root: Any, catalog: CatalogStore) -> None:
    assert catalog.newest() is None
    catalog.write(BOTH)
    other = again(catalog, root)
    assert other.newest() == BOTH
    assert (other.days(), other.warnings) == ([DAY], [])
    assert CatalogStore(root, Market.FUTURES).newest() is None


def test_other_programs_read_the_columns_of_a_snapshot(catalog: CatalogStore) -> None:
    path = catalog.write(BOTH)
    btc, gone = pq.read_table(pa.BufferReader(storage_of(path).read(path, 1 << 20))).to_pylist()
    lives = [{"first": life.first, "last": life.last} for life in GONE.lives]
    assert (btc["first_day"], btc["last_day"], btc["status"]) == (date(2017, 8, 17), None, BTC.status.value)
    assert gone == {
        "market": "spot", "symbol": "GONEUSDT", "pair": "GONE/USDT", "base": "GONE", "quote": "USDT",
        "kind": GONE.kind.value, "status": GONE.status.value, "first_day": date(2018, 1, 1),
        "last_day": date(2024, 4, 28), "lives": lives, "delivered_ms": 1_714_262_400_000,
        "files_until": date(2024, 4, 28),
    }  # fmt: skip


def test_nothing_but_our_own_facts_is_kept_beside_the_columns_of_a_snapshot(catalog: CatalogStore) -> None:
    path = catalog.write(BOTH)
    found = pq.read_metadata(pa.BufferReader(storage_of(path).read(path, 1 << 20)))
    assert list(found.metadata) == [b"market_data"]


def test_the_newest_is_the_one_of_the_last_day_until_another(catalog: CatalogStore) -> None:
    later = replace(BOTH, day=DAY + timedelta(days=3), pairs=(BTC,))
    catalog.write(later)
    catalog.write(BOTH)
    assert catalog.days() == [DAY, later.day]
    assert catalog.newest() == later
    assert list(catalog.backwards()) == [later, BOTH]
    assert catalog.newest(later.day) == later
    assert catalog.newest(later.day - timedelta(days=1)) == BOTH
    assert catalog.newest(DAY - timedelta(days=1)) is None


def test_a_pair_has_ended_if_the_newest_snapshot_says_so(catalog: CatalogStore) -> None:
    assert catalog.end_of("GONEUSDT") is None
    catalog.write(BOTH)
    assert catalog.end_of("GONEUSDT") == date(2024, 4, 28)
    assert catalog.end_of("BTCUSDT") is None
    assert catalog.end_of("NONEUSDT") is None


def test_what_was_learned_is_kept_for_its_day_until_there_is_a_snapshot(root: Any, catalog: CatalogStore) -> None:
    assert catalog.learned(DAY) == {}
    catalog.keep_learned(DAY, [GONE, BTC])
    other = again(catalog, root)
    assert other.learned(DAY) == {"BTCUSDT": BTC, "GONEUSDT": GONE}
    assert list(other.learned(DAY)) == ["BTCUSDT", "GONEUSDT"]
    assert other.learned(DAY + timedelta(days=1)) == {}
    assert other.newest() is None
    catalog.write(BOTH)
    assert other.learned(DAY) == {}


def test_what_was_learned_and_is_damaged_is_learned_again(catalog: CatalogStore) -> None:
    catalog.keep_learned(DAY, [BTC])
    [path] = [catalog.folder / name for name in storage_of(catalog.folder).names(catalog.folder) if "lock" not in name]
    storage_of(path).write(path, b"half")
    assert catalog.learned(DAY) == {}


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_snapshot_is_passed_over_and_named_once(catalog: CatalogStore, content: bytes) -> None:
    catalog.write(BOTH)
    [warning] = damaged(catalog, content)
    assert "2024-05-02" in warning
    assert warning.endswith("; remove it")
    assert "\n" not in warning


def test_a_snapshot_of_another_day_or_market_is_passed_over(root: Any, catalog: CatalogStore) -> None:
    path = catalog.write(BOTH)
    [warning] = damaged(catalog, storage_of(path).read(path, 1 << 20))
    assert "it is the catalog of 2024-05-01" in warning
    perpetual = replace(BTC, market=Market.FUTURES, kind=PairKind.PERPETUAL)
    other = CatalogStore(root, Market.FUTURES)
    with other.lock():
        path = other.write(Snapshot(Market.FUTURES, DAY, (perpetual,)))
    [warning] = damaged(catalog, storage_of(path).read(path, 1 << 20))
    assert "it is a catalog of futures" in warning


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ((BTC, BTC), "it has a symbol twice"),
        ((replace(GONE, lives=GONE.lives[::-1]),), "lives that are not in order"),
        ((replace(GONE, lives=(*BTC.lives, *GONE.lives)),), "lives that are none"),
        ((replace(BTC, lives=GONE.lives),), "values that do not agree"),
        ((replace(GONE, lives=BTC.lives),), "values that do not agree"),
        ((replace(BTC, pair="A" * 101),), "is no symbol"),
        ((replace(BTC, market=Market.FUTURES),), "values that do not agree"),
    ],
)
def test_pairs_that_cannot_be_are_refused(catalog: CatalogStore, pairs: tuple[ListedPair, ...], problem: str) -> None:
    catalog.write(BOTH)
    path = catalog.write(replace(BOTH, day=DAY + timedelta(days=1), pairs=pairs))
    assert catalog.newest() == BOTH
    [warning] = catalog.warnings
    assert warning.startswith(f"{path} is not used: ")
    assert problem in warning


def test_a_day_that_python_has_not_is_refused(catalog: CatalogStore) -> None:
    catalog.write(BOTH)
    path = catalog.write(replace(BOTH, day=DAY + timedelta(days=1)))
    whole = storage_of(path).read(path, 1 << 20)
    table, metadata = pq.read_table(io.BytesIO(whole)), pq.read_metadata(io.BytesIO(whole))
    days = pa.array([2**31 - 1] * table.num_rows, pa.int32()).cast(pa.date32())
    at, content = table.schema.get_field_index("first_day"), io.BytesIO()
    changed = table.set_column(at, table.schema.field(at), days)
    with pq.ParquetWriter(content, changed.schema, write_page_checksum=True) as writer:
        writer.add_key_value_metadata(metadata.metadata)
        writer.write_table(changed)
    [warning] = damaged(catalog, content.getvalue())
    assert "is not used: " in warning


def test_a_symbol_may_have_as_many_characters_as_its_column(catalog: CatalogStore) -> None:
    long = replace(BOTH, pairs=(replace(BTC, pair="A" * 100),))
    catalog.write(long)
    assert catalog.newest() == long
