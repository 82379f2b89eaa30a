"""Chunks in a bucket, read by programs that know nothing of this package, and by its own readers."""

import os
import re
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from pyarrow.fs import S3FileSystem

from market_data_pipeline import backfill
from market_data_pipeline.reader import open_dataset, open_panel
from market_data_pipeline_tests.places import ReadablePath, environment_of, in_bucket
from market_data_pipeline_tests.servers import KEY, SECRET
from market_data_pipeline_tests.support import Simulate

pytestmark = pytest.mark.slow
MINUTES = 3 * 1440
PAIRS = ("BTC/USDT", "ETH/USDT")


@pytest.fixture
def root(seaweedfs: str, tmp_path: Path, simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> ReadablePath:
    """Three days of two pairs, loaded by the functions for Python."""
    env = environment_of(seaweedfs) | {"MARKET_DATA_EXCHANGE_URL": simulate().url}
    for name, value in (env | {"DAGSTER_HOME": str(tmp_path / "dagster"), "LOG_DIR": str(tmp_path / "logs")}).items():
        monkeypatch.setenv(name, value)
    root = in_bucket()
    for pair in PAIRS:
        report = backfill(pair, market="spot", start="2024-05-01", end="2024-05-04", root=str(root))
        assert report.ok
    return root


def chunks_of(root: ReadablePath) -> ReadablePath:
    return root / "binance" / "BTCUSDT" / "1m" / "chunks"


def test_the_readers_of_this_package(root: ReadablePath) -> None:
    assert open_dataset("BTC/USDT", market="spot", root=str(root)).to_pandas().shape[0] == MINUTES
    wide = open_panel("*/USDT", "close", market="spot", root=str(root)).wide().to_pandas()
    assert wide.shape == (MINUTES, len(PAIRS))


def test_polars_reads_chunks_by_glob(root: ReadablePath, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{chunks_of(root)}/*.parquet"
    assert pl.scan_parquet(address).select(pl.len()).collect().item() == MINUTES
    options = {
        "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
        "aws_access_key_id": KEY,
        "aws_secret_access_key": SECRET,
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    for name in environment_of(""):
        monkeypatch.delenv(name)
    assert pl.scan_parquet(address, storage_options=options).select(pl.len()).collect().item() == MINUTES


def test_pyarrow_and_duckdb_read_chunks_through_pyarrow(root: ReadablePath) -> None:
    files = S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"])
    klines = ds.dataset(str(chunks_of(root)).removeprefix("s3://"), filesystem=files, format="parquet")
    assert klines.count_rows() == MINUTES
    counted = duckdb.connect().sql("SELECT count(*) FROM klines").fetchall()
    assert counted == [(MINUTES,)]


def test_duckdb_reads_chunks_by_glob(root: ReadablePath) -> None:
    with duckdb.connect() as connection:
        try:
            connection.execute("INSTALL httpfs")
            connection.execute("LOAD httpfs")
        except duckdb.Error as error:
            pytest.skip(f"DuckDB's extension httpfs cannot be had here: {error}")
        server = re.sub(r"https?://", "", os.environ["AWS_ENDPOINT_URL"])
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION 'us-east-1', ENDPOINT '{server}', "
            "URL_STYLE 'path', USE_SSL false)"
        )
        counted = connection.execute(f"SELECT count(*) FROM read_parquet('{chunks_of(root)}/*.parquet')").fetchall()
    assert counted == [(MINUTES,)]
