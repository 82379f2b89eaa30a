"""Which pairs and minutes are exported, what is refused, and what becomes of the others when one fails."""

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline import MarketDataWarning, export, snapshot
from market_data_pipeline.core.errors import MarketDataError, StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store import atomic
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.reader.exporting import ExportRequest
from market_data_pipeline_tests.core.fakes import span
from market_data_pipeline_tests.reader.exporting.stores import WINDOW, Scaled, make
from market_data_pipeline_tests.support import CHECKOUT, everything, flip_a_byte

FORMATS = ("csv", "parquet", "feather-freqtrade", "lean", "nautilus")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for pair in ("BTC/USDT", "ETH/USDT"):
        make(root, pair)
    make(root, "LATE/USDT", Scaled(first="2024-03-31T12:00Z"))
    make(root, "BTC/USDT", market=Market.FUTURES)
    return root


def exported(root: Path, *pairs: str, **options: Any) -> Any:
    given = {"format": "csv", "output": root.parent / "out", "market": "spot", "root": root}
    return export(list(pairs), **{**given, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "xlsx"}, "no such format: 'xlsx'; give csv, parquet, feather-freqtrade, lean, nautilus"),
        ({"pairs": "ADA/USDT"}, "there is no spot ADA/USDT under .*backfill loads it"),
        ({"pairs": "A*"}, "'A\\*' matches no pair that is stored"),
        ({"market": "margin"}, "no such market"),
        ({"universe": "mine"}, "no universe 'mine'"),
        ({"start": "2024-13-01"}, "2024-13-01"),
        ({"start": "2024-04-02", "end": "2024-04-01"}, "is before the start"),
        ({"start": "2020-01-01", "end": "2020-02-01"}, "no klines in the window to export"),
        ({"panel": "tall"}, "no such panel: 'tall'; give long or wide"),
        ({"panel": "long", "format": "lean"}, "panels and columns are for csv and parquet"),
        ({"columns": "close", "format": "nautilus"}, "panels and columns are for csv and parquet"),
        ({"columns": "closed"}, "no such column: 'closed'; there are open_time, "),
        ({"columns": "minutes"}, "no such column: 'minutes'"),
        ({"columns": "ignore", "interval": "5m"}, "no such column: 'ignore'; there are open_time, .*, minutes, "),
        ({"interval": "1mo"}, "no whole klines of 1mo in the window"),
        ({"interval": "1d", "start": "2024-03-29T01:00Z", "end": "2024-03-30T23:00Z"}, "no whole klines of 1d in the"),
        ({"interval": "1mo", "format": "feather-freqtrade"}, "no whole klines of 1mo in the window"),
        ({"interval": "7m"}, "no such interval: '7m'; give minutes or hours"),
        ({"interval": "5min"}, "did you mean 5m"),
        ({"interval": "10m", "format": "feather-freqtrade"}, "freqtrade has no 10m klines .*give one of 1m, 3m, 5m"),
        ({"interval": "1h", "format": "lean"}, "Lean makes klines of 1h itself; export those of a minute"),
        ({"interval": "1h", "format": "nautilus"}, "NautilusTrader makes klines of 1h itself"),
        ({"output": "s3://bucket/klines"}, "cannot export to s3://bucket/klines; give a folder of this machine"),
        ({"tz": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_written(
    root: Path, options: dict[str, Any], said: str
) -> None:
    before = everything(root.parent)
    given = {"pairs": "BTC/USDT", "format": "csv", "output": root.parent / "out", "market": "spot", "root": root}
    with pytest.raises(UsageError, match=said) as refused:
        export(**{**given, **options})
    assert "\n" not in str(refused.value)
    written = {name for name in everything(root.parent).keys() - before.keys() if not name.endswith(".lock")}
    assert written == set()


def test_a_folder_that_is_a_file_or_in_the_store_is_refused(root: Path) -> None:
    (root.parent / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="it is a file; give a folder"):
        exported(root, "BTC/USDT", output=root.parent / "file")
    with pytest.raises(UsageError, match="it is in the data root"):
        exported(root, "BTC/USDT", output=root / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_folder_of_links_in_a_circle_is_refused(root: Path) -> None:
    loop = root.parent / "loop"
    loop.symlink_to(loop)
    with pytest.raises(MarketDataError, match="loop"):
        exported(root, "BTC/USDT", output=loop)


def test_a_name_that_is_too_long_is_an_error_of_the_package(root: Path) -> None:
    with pytest.raises(MarketDataError, match="name") as refused:
        exported(root, "BTC/USDT", output=root.parent / ("a" * 300))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("options", [{}, {"panel": "long"}, {"format": "parquet"}, {"format": "lean"}])
def test_dates_of_pairs_whose_days_are_of_different_zones_are_warned_of_once(
    root: Path, options: dict[str, Any]
) -> None:
    for pair in ("A/USDT", "B/USDT", "C/USDT", "D/USDT"):
        make(root, pair, tz="+02:00")
    with pytest.warns(MarketDataWarning) as warned:
        report = exported(root, "*", start="2024-03-31", **options)
    zones = "+02:00 (A/USDT, B/USDT, C/USDT and 1 more), UTC (BTC/USDT, ETH/USDT, LATE/USDT)"
    said = f"start and end are those of each pair's days, which are of different zones: {zones}; give tz (--align-tz)"
    assert [str(each.message) for each in warned] == list(report.warnings) == [said]


@pytest.mark.parametrize(
    "options", [{}, {"start": "2024-03-31T00:00Z"}, {"start": "2024-03-31", "tz": "UTC"}, {"start": 1711843200000}]
)
def test_nothing_is_warned_of_where_no_zone_changes_the_window(root: Path, options: dict[str, Any]) -> None:
    make(root, "A/USDT", tz="+02:00")
    assert exported(root, "A/USDT", "BTC/USDT", **options).warnings == ()  # a warning is an error in these tests


def test_a_dataset_that_is_begun_is_told_by_its_name(root: Path) -> None:
    told: list[Any] = []
    request = ExportRequest("csv", root.parent / "out", ["BTC/USDT", "ETH/USDT"], market="spot", root=root)
    request.run(lambda *begun: told.append(begun))
    assert told == [("spot BTC/USDT", 1, 2), ("spot ETH/USDT", 2, 2)]


@pytest.mark.parametrize("panel", ["long", "wide"])
def test_a_panel_of_one_pair_is_called_so(root: Path, panel: str) -> None:
    (only,) = exported(root, "ETH/USDT", panel=panel).results
    assert only.name == f"{panel} panel of 1 pair"


def test_dates_are_those_of_the_zone_that_is_asked_for(root: Path) -> None:
    report = exported(root, "ETH/USDT", start="2024-03-31", end="2024-04-01", tz="+02:00", format="parquet")
    assert report.results[0].first_open_ms == WINDOW.start_ms + 46 * 3_600_000


def test_the_pairs_of_a_universe(root: Path) -> None:
    text = '[universe.mine]\nmarket = "spot"\npairs = ["*/USDT", "!LATE*"]\n'
    (root / "market-data.toml").write_text(text, encoding="utf-8")
    report = export(format="csv", output=root.parent / "out", universe="mine", root=root)
    assert [each.name for each in report.results] == ["BTC/USDT", "ETH/USDT"]


def test_the_pair_of_the_settings_if_none_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MARKET_DATA_DIR": str(root), "MARKET_TYPE": "futures", "SYMBOL": "BTC/USDT"}.items():
        monkeypatch.setenv(name, value)
    report = export(format="csv", output=root.parent / "out")
    assert [path.parent.name for path in report.files] == ["binanceusdm"]


def test_a_pair_without_klines_in_the_window_has_no_file_and_is_no_failure(root: Path) -> None:
    report = exported(root, "*/USDT", end="2024-03-30")
    assert [each.name for each in report.empty] == ["LATE/USDT"]
    assert repr(report).startswith("ExportReport(ok=True, spot 1m csv in '")
    assert "', pairs=3, failed=0, empty=1, files=2, rows=" in repr(report)
    assert report.ok and [path.name for path in report.files] == ["BTCUSDT_1m.csv", "ETHUSDT_1m.csv"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_there_is_replaced_only_if_that_is_asked_for(root: Path, format: str) -> None:
    first = exported(root, "BTC/USDT", format=format, start="2024-03-30")
    before = everything(root.parent / "out")
    with pytest.raises(UsageError, match=r"is there already; give --overwrite \(overwrite=True\), or another folder"):
        exported(root, "ETH/USDT", "BTC/USDT", format=format)
    assert everything(root.parent / "out") == before
    again = exported(root, "ETH/USDT", "BTC/USDT", format=format, overwrite=True)
    assert again.rows > first.rows
    kept = {name for name, content in everything(root.parent / "out").items() if not name.startswith(".")}
    assert kept == {path.relative_to(root.parent / "out").as_posix() for path in again.files}


def test_bars_beside_others_in_a_catalog_are_no_overlap(root: Path) -> None:
    for start, end in (("2024-03-29", "2024-03-30"), ("2024-03-30", "2024-03-31")):
        exported(root, "BTC/USDT", format="nautilus", start=start, end=end)
    assert len(list((root.parent / "out").rglob("*.parquet"))) == 2


@pytest.mark.parametrize("window", [("2024-03-29T23:59Z", "2024-03-30T00:01Z"), (None, "2024-03-30T23:59Z")])
def test_bars_outside_of_the_window_are_not_removed_with_those_that_it_has(root: Path, window: Any) -> None:
    exported(root, "BTC/USDT", format="nautilus", start="2024-03-29", end="2024-03-31")
    before = everything(root.parent / "out")
    with pytest.raises(UsageError, match="BTCUSDT.* has bars outside of the window; give a window with them"):
        exported(root, "ETH/USDT", "BTC/USDT", format="nautilus", start=window[0], end=window[1], overwrite=True)
    assert everything(root.parent / "out") == before
    exported(root, "BTC/USDT", format="nautilus", start="2024-03-29", end="2024-03-31", overwrite=True)
    assert everything(root.parent / "out") == before


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_chunk_fails_its_pair_alone_and_leaves_what_was_there(root: Path, format: str) -> None:
    exported(root, "ETH/USDT", format=format)
    before = everything(root.parent / "out")
    [chunk] = root.glob("binance/ETHUSDT/1m/chunks/*_2024-03-30.parquet")
    flip_a_byte(chunk)
    with pytest.warns(MarketDataWarning, match="1 pair failed: spot ETH/USDT .*verify --repair") as warned:
        report = exported(root, "ETH/USDT", "BTC/USDT", format=format, overwrite=True)
    assert warned[0].filename == __file__
    assert ([each.name for each in report.failed], report.ok) == (["ETH/USDT"], False)
    after = everything(root.parent / "out")
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith(".tmp")]
    assert report.results[-1].rows == WINDOW.minutes - 90


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_chunk_after_many_weeks_leaves_no_file(tmp_path: Path, format: str) -> None:
    """Klines are read a few weeks at a time, so that some are exported before the damage is found."""
    root = tmp_path / "root"
    make(root, "BTC/USDT", window=span("2024-03-01T00:00Z", "2024-04-10T00:00Z"))
    [chunk] = root.glob("binance/BTCUSDT/1m/chunks/*_2024-04-09.parquet")
    flip_a_byte(chunk)
    with pytest.warns(MarketDataWarning, match="1 pair failed: spot BTC/USDT .*verify --repair"):
        report = exported(root, "BTC/USDT", format=format)
    assert report.files == []
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [".export.lock"]


def test_a_damaged_dataset_hides_no_other(root: Path) -> None:
    (root / "binance" / "ETHUSDT" / "1m" / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.warns(MarketDataWarning, match="ETH/USDT"):
        report = exported(root, "ETH/USDT", "BTC/USDT")
    assert [bool(each.problem) for each in report.results] == [True, False]


def test_one_export_at_a_time_writes_to_a_folder(root: Path) -> None:
    output = root.parent / "out"
    exported(root, "BTC/USDT")
    entered, left = threading.Event(), threading.Event()

    def hold() -> None:
        with atomic.lock_of(output / ".export.lock"):
            entered.set()
            left.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(60)
    try:
        with pytest.raises(StoreUnavailable, match="another export writes to"):
            exported(root, "ETH/USDT")
    finally:
        left.set()
        holder.join()
    assert exported(root, "ETH/USDT").ok


def entries_in_memory() -> int:
    gc.collect()
    return sum(type(each) is Entry for each in gc.get_objects())


@pytest.mark.parametrize(
    "options",
    [
        *({"format": format} for format in FORMATS),
        {"start": "2024-03-29", "end": "2024-04-01"},
        {"interval": "1h"},
        {"panel": "long"},
        {"as_of": "paper"},
    ],
    ids=str,
)
def test_no_manifest_is_in_memory_before_a_pair_is_exported_and_after_it(root: Path, options: dict[str, Any]) -> None:
    snapshot("paper", root=root)
    before, seen = entries_in_memory(), list[int]()
    given = {"format": "csv", "output": root.parent / "out", "pairs": "*", "market": "spot", "root": root}
    request = ExportRequest(**{**given, **options})
    assert request.run(lambda *_: seen.append(entries_in_memory())).ok
    assert seen == [before] * (1 if "panel" in options else 3)


def test_an_export_changes_nothing_in_the_store_and_a_killed_one_leaves_whole_files(root: Path) -> None:
    before = everything(root)
    output = root.parent / "out"
    code = f"from market_data_pipeline import export; export('*', format='lean', output={str(output)!r}, market='spot')"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=CHECKOUT, env={**os.environ, "MARKET_DATA_DIR": str(root)}
    ) as process:
        while process.poll() is None and not list(output.rglob("*.zip")):
            time.sleep(0.01)
        process.kill()
    exported(root, "*", format="lean", overwrite=True)
    assert everything(root) == before
    whole = everything(output)
    shutil.rmtree(output)
    exported(root, "*", format="lean")
    assert everything(output) == whole
