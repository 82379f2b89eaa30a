"""The data root may have any path that the system takes: with letters of all scripts, with spaces, and long ones."""

from pathlib import Path

import pytest

from market_data_pipeline_tests.support import MarketData, Simulate, rows_by_day

pytestmark = pytest.mark.slow

SPOT = ("--market", "spot")
DAYS = ("--start", "2024-05-10", "--end", "2024-05-12")
NAMES = {"spaces": "Märkte & Käufe 100%", "scripts": "币安人生 маркет", "long": f"{'long' * 30}/{'longer' * 20}"}
LOADED = {"2024-05-10": 1440, "2024-05-11": 1440}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_store_is_loaded_combined_proved_and_loaded_anew_below_any_path(
    tmp_path: Path, simulate: Simulate, name: str
) -> None:
    root = tmp_path / name / "root"
    try:
        root.mkdir(parents=True)
        (root / "a file name that is about as long as that of a chunk .parquet.tmp").touch()
    except OSError as error:
        pytest.skip(f"this system takes no such path: {error.strerror}")
    tool = MarketData(root, simulate(weights=False).url)
    for words in ([*SPOT, "backfill", *DAYS], [*SPOT, "backfill", *DAYS, "--refetch"], [*SPOT, "combine"], ["verify"]):
        done = tool.run(*words)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    assert rows_by_day(root) == LOADED
    assert [path.name for path in root.glob("binance/BTCUSDT/1m/combined/*")] == ["BTCUSDT_1m_all.parquet"]
