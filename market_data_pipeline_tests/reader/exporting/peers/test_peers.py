"""The programs that exports are for read them, in environments of their own, which `make peers` sets up.

Each test exports, lets the peer read, and compares with what this package's reader has. It skips where the environment
of the peer is not there: `.venv-peers/freqtrade` and `.venv-peers/nautilus` of the checkout, or of the folder that
`MARKET_DATA_PEERS` names.
"""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from market_data_pipeline import export, open_dataset
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline_tests.reader.exporting.stores import HALT, WINDOW, Scaled, make, rows_of
from market_data_pipeline_tests.support import CHECKOUT, MINUTE_MS

pytestmark = pytest.mark.slow
PEERS = Path(os.environ.get("MARKET_DATA_PEERS", CHECKOUT / ".venv-peers"))
MINUTES = WINDOW.minutes - HALT.minutes


def python_of(peer: str) -> Path:
    """The Python of the peer's environment."""
    python = PEERS / peer / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        pytest.skip(f"{peer} is not installed in {python.parent}; run make peers")
    return python


def run(peer: str, *arguments: str | Path, cwd: Path) -> str:
    """What the peer's Python prints."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    kept["COLUMNS"] = "200"  # a narrower table of freqtrade has two lines for a time
    ended = subprocess.run(
        [python_of(peer), *map(str, arguments)], cwd=cwd, env=kept, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def read_with(peer: str, *arguments: str | Path, cwd: Path) -> Any:
    script = Path(__file__).with_name(f"with_{peer}.py")
    return json.loads(run(peer, script, *arguments, cwd=cwd).splitlines()[-1])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for market in Market:
        make(root, "BTC/USDT", market=market, tz="Europe/Zurich")
    make(root, "TINY/USDT", Scaled(price=1e-9, volume=1e9, decimals=13))
    return root


def stored(root: Path, market: str, pair: str = "BTC/USDT") -> pa.Table:
    return open_dataset(pair, market=market, root=root).to_arrow()


# --- freqtrade


@pytest.mark.parametrize(
    ("interval", "last", "rows", "filled"),
    [
        ("1m", "2024-03-31T23:59:00+00:00", MINUTES, WINDOW.minutes),
        ("5m", "2024-03-31T23:55:00+00:00", MINUTES // 5, WINDOW.minutes // 5),
        ("1h", "2024-03-31T23:00:00+00:00", 71, 72),
        ("1d", "2024-03-31T00:00:00+00:00", 3, 3),
    ],
)
@pytest.mark.parametrize(("market", "name"), [("spot", "BTC/USDT"), ("futures", "BTC/USDT:USDT")])
def test_freqtrade_lists_and_loads_it(
    root: Path, tmp_path: Path, market: str, name: str, interval: str, last: str, rows: int, filled: int
) -> None:
    python_of("freqtrade")
    options = {"format": "feather-freqtrade", "interval": interval, "market": market, "root": root}
    [path] = export("BTC*", output=tmp_path / "data", **options).files
    read = read_with("freqtrade", tmp_path / "data", name, market, interval, tmp_path / "rewritten", cwd=tmp_path)
    assert read["listed"] == [[name, interval, market]]
    expected = open_dataset("BTC/USDT", market=market, root=root).resample(interval, tz="UTC").to_arrow()
    assert read["rows"] == [list(row) for row in rows_of(expected)]
    assert read["min_max"] == ["2024-03-29T00:00:00+00:00", last, rows]
    assert read["filled"] == filled  # its own filling
    [own] = (tmp_path / "rewritten").rglob("*.feather")
    assert own.relative_to(tmp_path / "rewritten") == path.relative_to(tmp_path / "data")
    theirs, ours = pyarrow.feather.read_table(own), pyarrow.feather.read_table(path)
    assert ours.equals(theirs) and ours.schema.equals(theirs.schema, check_metadata=False)


def test_freqtrades_command_lists_it(root: Path, tmp_path: Path) -> None:
    python_of("freqtrade")
    export(format="feather-freqtrade", output=tmp_path / "data", market="futures", root=root, pairs="BTC*")
    where = "--userdir", tmp_path / "user", "--datadir", tmp_path / "data"
    (tmp_path / "user").mkdir()
    command = "-m", "freqtrade", "list-data", "--exchange", "binance", "--trading-mode", "futures", "--show-timerange"
    shown = run("freqtrade", *command, *where, cwd=tmp_path)
    [line] = [line for line in shown.splitlines() if "BTC/USDT:USDT" in line]
    for text in ("1m", "futures", "2024-03-29 00:00:00", "2024-03-31 23:59:00", str(MINUTES)):
        assert text in line


# --- NautilusTrader


@pytest.mark.parametrize(
    ("market", "pair", "instrument"),
    [
        ("spot", "BTC/USDT", "BTCUSDT.BINANCE"),
        ("futures", "BTC/USDT", "BTCUSDT-PERP.BINANCE"),
        ("spot", "TINY/USDT", "TINYUSDT.BINANCE"),
    ],
)
def test_nautilus_catalog_reads_it(root: Path, tmp_path: Path, market: str, pair: str, instrument: str) -> None:
    python_of("nautilus")
    report = export(pair, format="nautilus", output=tmp_path / "catalog", market=market, root=root)
    read = read_with("nautilus", tmp_path / "catalog", instrument, tmp_path / "rewritten", cwd=tmp_path)
    assert read["types"] == ["bar"]
    assert read["bar_type"] == f"{instrument}-1-MINUTE-LAST-EXTERNAL"
    rows = rows_of(stored(root, market, pair))
    ends_ns = [(int(open_ms) + MINUTE_MS - 1) * 1_000_000 for open_ms, *_ in rows]
    assert [row[0] for row in read["rows"]] == [row[-1] for row in read["rows"]] == ends_ns
    assert read["intervals"] == [[ends_ns[0], ends_ns[-1]]]
    for (_, *numbers), (_, *texts, _) in zip(rows, read["rows"], strict=True):
        assert [Decimal(text) for text in texts] == [Decimal(repr(number)) for number in numbers]
    assert report.results[0].notes[0] == "an instrument needs price_precision {} and size_precision {}".format(
        *read["precision"]
    )
    # Its own catalog writes the same.
    [own], [ours] = (tmp_path / "rewritten").rglob("*.parquet"), report.files
    assert own.relative_to(tmp_path / "rewritten") == ours.relative_to(tmp_path / "catalog")
    assert pq.read_table(own).equals(pq.read_table(ours))
    assert pq.read_schema(own).equals(pq.read_schema(ours), check_metadata=True)


def test_nautilus_reads_two_exports_beside_each_other_as_one(root: Path, tmp_path: Path) -> None:
    python_of("nautilus")
    for start, end in (("2024-03-29", "2024-03-30"), ("2024-03-30", "2024-04-01")):
        window = {"start": start, "end": end, "tz": "UTC"}
        export("BTC/USDT", format="nautilus", output=tmp_path / "catalog", market="spot", root=root, **window)
    read = read_with("nautilus", tmp_path / "catalog", "BTCUSDT.BINANCE", tmp_path / "rewritten", cwd=tmp_path)
    assert len(read["rows"]) == MINUTES
    assert len(read["intervals"]) == 2
