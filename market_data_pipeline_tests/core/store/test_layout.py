"""Names are made and read back by the same rules, and no name leads out of the store."""

from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.layout import ChunkName, StoredName
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE

DATASET = Dataset(Market.FUTURES, "BTC/USDT", UTC_ZONE, date(2020, 1, 1))


@pytest.mark.parametrize(
    ("day", "name"),
    [("2020-01-01", "chunk_000001_2020-01-01.parquet"), ("2199-12-30", "chunk_065743_2199-12-30.parquet")],
)
def test_a_chunk_name_is_read_back(day, name):
    assert layout.chunk_name(DATASET, day) == name
    assert layout.parse_chunk_name(name) == ChunkName(DATASET.index_of(day), day)


@pytest.mark.parametrize(
    "name",
    ["chunk_000001_2020-13-01.parquet", "chunk_00001_2020-01-01.parquet", "chunk_000001_2020-01-01.parquet.tmp",
     "chunk_000000_2020-01-01.parquet", "chunk_1000000_4757-11-27.parquet", "chunk_000001_0001-01-01.parquet",
     "chunk_000001_9999-12-31.parquet", "chunk_000001_2020-01-01 (1).parquet", "chunk_00000１_2020-01-01.parquet",
     "BTCUSDT_1m_all.parquet", "notes.txt", ""],
)  # fmt: skip
def test_other_names_are_not_those_of_chunks(name):
    assert layout.parse_chunk_name(name) is None


def test_the_neighbours_of_a_chunk_are_a_day_and_an_index_away():
    leap = ChunkName(60, "2020-02-29")
    assert str(leap.neighbour(1)) == "chunk_000061_2020-03-01.parquet"
    assert str(leap.neighbour(-1)) == "chunk_000059_2020-02-28.parquet"


def test_a_dataset_lies_under_its_exchange_and_token(tmp_path):
    folder = layout.dataset_folder(tmp_path, Market.FUTURES, "BTC/USDT")
    assert folder == tmp_path / "binanceusdm" / "BTCUSDT" / "1m"
    assert layout.combined_path(folder, "BTCUSDT") == folder / "combined" / "BTCUSDT_1m_all.parquet"
    assert layout.relative_folder(DATASET, layout.CHUNKS) == "binanceusdm/BTCUSDT/1m/chunks/"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (layout.CHUNK_EXAMPLE, StoredName(Market.SPOT, "BTCUSDT", is_combined=False)),
        ("binanceusdm/币安USDT/1m/combined/币安USDT_1m_all_+0530.parquet",
         StoredName(Market.FUTURES, "币安USDT", is_combined=True)),
        ("binance/BTCUSDT/1m/manifest.json", None),
        ("binance/BTCUSDT/1m/quarantine/chunk_000001_2020-01-01.parquet", None),
        ("binance/../1m/chunks/chunk_000001_2020-01-01.parquet", None),
        ("/binance/BTCUSDT/1m/combined/a.parquet", None),
        ("binance/BTCUSDT/1m/combined/../../secret.parquet", None),
    ],
)  # fmt: skip
def test_only_paths_of_chunks_and_combined_files_are_names_of_stored_files(name, stored):
    assert layout.parse_stored_name(name) == stored


def test_the_files_of_datasets_are_found_by_market(tmp_path):
    paths = []
    for market in (Market.SPOT, Market.FUTURES):
        folder = layout.dataset_folder(tmp_path, market, "ETH/USDT")
        folder.mkdir(parents=True)
        Path(folder / layout.DATASET_FILE).touch()
        paths.append(folder / layout.DATASET_FILE)
    assert layout.dataset_files(tmp_path) == paths
    assert layout.dataset_files(tmp_path, Market.FUTURES) == paths[1:]


def test_only_folders_of_exchanges_are_looked_into(tmp_path):
    for other in ("lost+found/BTCUSDT", "binance/.journal"):
        folder = tmp_path / other / "1m"
        folder.mkdir(parents=True)
        Path(folder / layout.DATASET_FILE).touch()
    assert layout.dataset_folders(tmp_path) == layout.dataset_files(tmp_path) == []


def test_only_a_file_that_really_lies_below_the_root_is_within_it(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.parquet"
    (root / "folder").mkdir(parents=True)
    inside = root / "folder" / "inside.parquet"
    for path in (inside, outside):
        path.write_bytes(b"klines")
    files = storage_of(root)
    assert files.is_within(inside, root)
    assert files.is_within(root / "folder" / ".." / "folder" / "inside.parquet", root)
    no_files = [root / "none.parquet", root / "folder", outside, root / ".." / "outside.parquet", root / "a\0b"]
    assert [path for path in no_files if files.is_within(path, root)] == []
