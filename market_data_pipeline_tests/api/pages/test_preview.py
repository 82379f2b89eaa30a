"""A file's page: which rows, which times, which files, and what a bad file is."""

import errno
import json
import re
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market_data_pipeline.api.pages import preview
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.klines.table import EMPTY, bits_of
from market_data_pipeline.core.loading.fold import fold
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.chunks.encoding import Footer, encode
from market_data_pipeline.core.store.combined import ROW_GROUP_ROWS, combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.journal.segments import Owner, journaled
from market_data_pipeline.core.store.journal.writing import JournalWriter
from market_data_pipeline.core.store.layout import market_journal
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline_tests.api.pages.browsing import Browser, Page, load
from market_data_pipeline_tests.core.fakes import FakeSource, klines_of, span
from market_data_pipeline_tests.support import Simulate, chunk_files

CHUNKS = "binance/BTCUSDT/1m/chunks/"
LONG_DAY = "2023-10-29"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def long_day(root: Path, simulate: Simulate) -> DatasetStore:
    """The day of 25 hours in Zurich, and the days beside it."""
    return load(root, simulate().url, start="2023-10-28", end="2023-10-31", tz="Europe/Zurich")


def name_of(root: Path, day: str) -> str:
    return chunk_files(root)[day].relative_to(root).as_posix()


def drawn(page: Page) -> dict[str, list[float]]:
    text = re.findall(r'<script type="application/json" id="klines">(.*?)</script>', page.answer.text)[0]
    content: dict[str, list[float]] = json.loads(text)
    return content


def test_rows_have_the_values_of_the_file_and_both_times(long_day: DatasetStore, root: Path) -> None:
    path = chunk_files(root)[LONG_DAY]
    page = Browser(root).file(name_of(root, LONG_DAY), limit=3, offset=180)
    klines = pq.read_table(path).slice(180, 3).to_pylist()
    assert [row[:3] for row in page.rows] == [
        ["181", "2023-10-29 01:00", "2023-10-29 02:00 +01:00"],
        ["182", "2023-10-29 01:01", "2023-10-29 02:01 +01:00"],
        ["183", "2023-10-29 01:02", "2023-10-29 02:02 +01:00"],
    ]
    for row, kline in zip(page.rows, klines, strict=True):
        fields = ("open", "high", "low", "close", "volume", "quote_volume", "trades")
        assert [float(value) for value in row[3:10]] == [kline[field] for field in fields]
    # The hour that comes twice.
    assert Browser(root).file(name_of(root, LONG_DAY), limit=1, offset=120).rows[0][2] == "2023-10-29 02:00 +02:00"


def test_the_chart_has_the_whole_day_of_a_chunk(long_day: DatasetStore, root: Path) -> None:
    page = Browser(root).file(name_of(root, LONG_DAY), limit=10)
    assert len(page.rows) == 10
    table = pq.read_table(chunk_files(root)[LONG_DAY])
    assert drawn(page)["open_time"] == table["open_time"].to_pylist()
    assert drawn(page)["close"] == table["close"].to_pylist()


def test_pages_lead_to_each_other_and_to_the_days_beside(long_day: DatasetStore, root: Path) -> None:
    browser = Browser(root)
    page = browser.file(name_of(root, LONG_DAY), limit=1000)
    assert "1 to 1,000 of 1,500" in page.text
    links = " ".join(page.files)
    assert "limit=1000&offset=1000" in links
    assert "2023-10-28.parquet" in links
    assert "2023-10-30.parquet" in links
    assert "1,001 to 1,500 of 1,500" in browser.file(name_of(root, LONG_DAY), limit=1000, offset=1000).text
    whole = browser.file(name_of(root, LONG_DAY), limit=1500)
    assert len(whole.rows) == 1500


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1501}, {"offset": -1}, {"offset": 1500}, {"limit": "x"}])
def test_bounds_are_said(long_day: DatasetStore, root: Path, query: dict[str, int]) -> None:
    page = Browser(root).file(name_of(root, LONG_DAY), **query)
    assert page.status == 422
    assert next(iter(query)) in page.text


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../secret.parquet",
        f"{CHUNKS}../../../../secret.parquet",
        f"{CHUNKS}chunk_000001_2020-01-01.parquet/../x.parquet",
        f"{CHUNKS}..%2f..%2fsecret.parquet",
        f"{CHUNKS}chunk_000001_2020-01-01.parquet\x00.parquet",
        f"{CHUNKS}chunk_000001_2020-01-01.parquet\n",
        f"/{CHUNKS}chunk_000001_2020-01-01.parquet",
        f"./{CHUNKS}chunk_000001_2020-01-01.parquet",
        f"C:/{CHUNKS}chunk_000001_2020-01-01.parquet",
        "C:\\secret.parquet",
        "binance\\BTCUSDT\\1m\\chunks\\chunk_000001_2020-01-01.parquet",
        "\\\\server\\share\\secret.parquet",
        "binance/../1m/chunks/chunk_000001_2020-01-01.parquet",
        "binance/BTCUSDT/1m/quarantine/chunk_000001_2020-01-01.parquet",
        "binance/BTCUSDT/1m/combined/../../../../secret.parquet",
        "binance/BTCUSDT/1m/combined/secret.parquet:stream.parquet",
        "binance/BTCUSDT/1m/manifest.json",
        "dagster/BTCUSDT/1m/chunks/chunk_000001_2020-01-01.parquet",
        "x" * 10_000,
    ],
)
def test_no_name_leads_elsewhere(long_day: DatasetStore, root: Path, name: str) -> None:
    (root.parent / "secret.parquet").write_bytes(chunk_files(root)[LONG_DAY].read_bytes())
    page = Browser(root).file(name)
    assert page.status == 422
    assert str(root) not in page.answer.text


def test_a_name_that_could_be_is_not_found(long_day: DatasetStore, root: Path) -> None:
    browser = Browser(root)
    assert browser.file(f"{CHUNKS}chunk_000001_2020-01-01.parquet").status == 404
    folder = chunk_files(root)[LONG_DAY].parent / "chunk_000001_2020-01-01.parquet"
    folder.mkdir()
    assert browser.file(f"{CHUNKS}{folder.name}").status == 404


def test_a_file_with_a_name_of_no_day_is_shown(long_day: DatasetStore, root: Path) -> None:
    chunk = chunk_files(root)[LONG_DAY]
    other = chunk.rename(chunk.with_name("chunk_000001_2023-99-99.parquet"))
    assert Browser(root).file(f"{CHUNKS}{other.name}").status == 200


def test_no_link_leads_out_of_the_store(long_day: DatasetStore, root: Path) -> None:
    secret = root.parent / "secret.parquet"
    secret.write_bytes(chunk_files(root)[LONG_DAY].read_bytes())
    link = chunk_files(root)[LONG_DAY].with_name("chunk_000001_2020-01-01.parquet")
    try:
        link.symlink_to(secret)
    except OSError:
        pytest.skip("this system makes no links")
    assert Browser(root).file(f"{CHUNKS}{link.name}").status == 404


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:2000], lambda content: b"", lambda content: b"PAR1" + bytes(900) + b"PAR1"]
)
def test_a_bad_file_is_one_line(long_day: DatasetStore, root: Path, spoil) -> None:
    path = chunk_files(root)[LONG_DAY]
    path.write_bytes(spoil(path.read_bytes()))
    page = Browser(root).file(name_of(root, LONG_DAY))
    assert page.status == 422
    assert "cannot be read" in page.text
    assert "verify --repair" in page.text
    assert "Traceback" not in page.text


def test_a_file_that_may_not_be_read_is_no_damage(
    long_day: DatasetStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read anything, so that the disk itself has to refuse.
    def refuse(path: Path, *_: int) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    for name in ("read", "open"):
        monkeypatch.setattr(FOLDER, name, refuse)
    combined = f"{CHUNKS.removesuffix('chunks/')}combined/BTCUSDT_1m_all.parquet"
    (root / combined).parent.mkdir(exist_ok=True)
    (root / combined).touch()
    for name in (name_of(root, LONG_DAY), combined):
        page = Browser(root).file(name)
        assert page.status == 503
        assert "Permission denied" in page.text and "--repair" not in page.text


def test_a_journal_that_may_not_be_read_is_no_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = span("2024-03-05T00:00Z", "2024-03-06T00:00Z")
    made = Store(root).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=date(2024, 3, 5))
    list(backfill(made, FakeSource(now="2024-03-05T12:00Z"), today))
    minute = klines_of(span("2024-03-05T12:00Z", "2024-03-05T12:01Z"))
    JournalWriter(market_journal(root, Market.SPOT)).append([(Owner.of(made.dataset), bits_of(minute))])
    read = FOLDER.read

    def refuse(path: Path, most_bytes: int) -> bytes:
        if path.suffix == ".journal":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, most_bytes)

    monkeypatch.setattr(FOLDER, "read", refuse)
    page = Browser(root).file(name_of(root, "2024-03-05"))
    assert page.status == 503
    assert "Permission denied" in page.text and "--repair" not in page.text


def test_minutes_that_move_from_the_journal_into_the_chunk_meanwhile_are_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = span("2024-03-05T00:00Z", "2024-03-06T00:00Z")
    made = Store(root).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=date(2024, 3, 5))
    list(backfill(made, FakeSource(now="2024-03-05T12:00Z"), today))
    minute = klines_of(span("2024-03-05T12:00Z", "2024-03-05T12:01Z"))
    journal, owner = JournalWriter(market_journal(root, Market.SPOT)), Owner.of(made.dataset)
    journal.append([(owner, bits_of(minute))])
    assert "of 721" in Browser(root).file(name_of(root, "2024-03-05")).text

    def moved(folder: Path, of: Owner) -> pa.Table:
        fold(made, made.dataset.day("2024-03-05"), minute)
        journal.note_folded(owner)
        journal.close()
        return journaled(folder, of)

    monkeypatch.setattr(preview, "journaled", moved)
    assert "of 721" in Browser(root).file(name_of(root, "2024-03-05")).text
    assert journaled(made.folder, owner).num_rows == 0


def test_a_flipped_byte_is_found(long_day: DatasetStore, root: Path) -> None:
    path = chunk_files(root)[LONG_DAY]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert Browser(root).file(name_of(root, LONG_DAY)).status == 422


def test_nothing_in_a_file_becomes_html(long_day: DatasetStore, root: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    day = day_of(parse_zone("UTC"), date(2023, 10, 29))
    footer = Footer(evil, evil, "UTC", day.key, evil, ())
    chunk_files(root)[LONG_DAY].write_bytes(encode(klines_of(Span(day.start_ms, day.end_ms)), footer))
    page = Browser(root).file(name_of(root, LONG_DAY))
    assert page.status == 200
    assert "<script>alert" not in page.answer.text
    assert "&lt;script&gt;alert(1)" in page.answer.text


def test_footers_that_make_no_sense(long_day: DatasetStore, root: Path) -> None:
    for footer in (
        Footer("spot", "BTC/USDT", "No/Where", LONG_DAY, "rest", ()),
        Footer("spot", "X", "UTC", "x", "", ()),
        Footer("spot", "BTC/USDT", "UTC", "9999-12-31", "rest", ()),
    ):
        chunk_files(root)[LONG_DAY].write_bytes(encode(EMPTY, footer))
        assert Browser(root).file(name_of(root, LONG_DAY)).status == 422


def test_a_day_without_klines(long_day: DatasetStore, root: Path) -> None:
    footer = Footer("spot", "BTC/USDT", "UTC", LONG_DAY, "rest", ())
    chunk_files(root)[LONG_DAY].write_bytes(encode(EMPTY, footer))
    page = Browser(root).file(name_of(root, LONG_DAY))
    assert page.status == 200
    assert "no rows of 0" in page.text


@pytest.mark.slow
def test_of_a_combined_file_only_the_row_groups_of_the_page_are_read(root: Path, simulate: Simulate) -> None:
    files = load(root, simulate(weights=False).url, start="2023-04-01", end="2023-07-03")
    path = combine(files).path
    name, browser = path.relative_to(root).as_posix(), Browser(root)
    across = browser.file(name, limit=1500, offset=ROW_GROUP_ROWS - 700)
    expected = pq.read_table(path)["open_time"].slice(ROW_GROUP_ROWS - 700, 1500).to_pylist()
    assert drawn(across)["open_time"] == expected
    assert len(across.rows) == 1500
    last = browser.file(name, offset=pq.read_metadata(path).num_rows - 1)
    assert len(last.rows) == 1
    # A first group that is damaged hurts only those who look at it.
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert browser.file(name, offset=ROW_GROUP_ROWS).status == 200
    damaged = browser.file(name)
    assert damaged.status == 422
    assert "run market-data combine" in damaged.text
