"""What CI materializes: it passes on a good store, and one broken chunk anywhere in the store fails it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from market_data_pipeline_tests import ci_materialize
from market_data_pipeline_tests.ci_materialize import LOADS, WORKSPACE

pytestmark = pytest.mark.slow
CHECKS = (
    "days_are_joined ok",
    "klines_keep_schema ok",
    "minutes_are_covered ok",
    "chunks_match_manifest ok",
    "combined_equals_chunks ok",
)


def test_it_materializes_and_checks_every_asset_of_two_datasets():
    command = [sys.executable, "-m", "market_data_pipeline_tests.ci_materialize"]
    done = subprocess.run(
        command, cwd=WORKSPACE.parent, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1 + 2 * 3, "one line for each asset, below the heading"
    for check in CHECKS:
        assert done.stdout.count(check) == 2
    assert done.stdout.count("4036  ") == 3, "klines_1m, manifest and combined tell the same rows"
    assert done.stdout.count("4380  ") == 3


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?")])
def test_a_broken_chunk_fails_it_by_name(damage, tmp_path, monkeypatch, capsys):
    spot = LOADS[0]
    monkeypatch.setattr(ci_materialize, "LOADS", [spot])
    assert ci_materialize.main([str(tmp_path)]) == 0
    (chunk,) = tmp_path.glob("binance/BTCUSDT/1m/chunks/*_2021-04-24.parquet")
    damage(chunk)
    # A load of that very day would mend it.
    monkeypatch.setattr(ci_materialize, "LOADS", [replace(spot, first="2021-04-26")])
    assert ci_materialize.main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "chunks_match_manifest FAILED" in printed.out
    assert "chunks_match_manifest of binance/BTCUSDT/manifest failed: 2021-04-24: " in printed.err
    assert chunk.name in printed.err
