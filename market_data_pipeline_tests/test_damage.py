"""Damaged files of a store: each kind of file with each damage, through the command line and the reader.

No command ends with a traceback, no wrong value is read, what can be healed is whole after the next backfill, and what
cannot is one line that names the file.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market_data_pipeline.core.errors import MarketDataError, StoreUnavailable
from market_data_pipeline.reader import open_dataset
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.cli.test_commands import one_trade_more_each_minute
from market_data_pipeline_tests.support import NOON, MarketData, data_files, dataset_folder, flip_a_byte

SPOT = ("--market", "spot")
DAYS = ("--start", "2024-05-10", "--end", "2024-05-12")
FIRST, LAST = "chunk_001592_2024-05-10.parquet", "chunk_001593_2024-05-11.parquet"
Damage = Callable[[Path], None]


def put(content: bytes) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def become_a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def become_a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def become_a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def grow(path: Path) -> None:
    """To 2 GB, of which the disk holds nothing."""
    os.truncate(path, 2_000_000_000)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def add_a_mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def vanish(path: Path) -> None:
    path.unlink()


ANY: dict[str, Damage] = {
    "empty": put(b""),
    "zeros": put(b"\0" * 5000),
    "brace": put(b"{"),
    "null": put(b"null"),
    "list": put(b"[]"),
    "text": put(b'"text"'),
    "infinity": put(b"Infinity"),
    "huge number": put(b"9" * 5000),
    "nested": put(b"[" * 100_000),
    "latin": put(b'{"format": 1, "pair": "\xe9\xff"}'),
    "surrogate": put(b'{"format": 1, "pair": "\\ud800"}'),
    "other format": put(b'{"format": 0}'),
    "mark": add_a_mark,
    "half": halve,
    "large": grow,
    "folder": become_a_folder,
    "loop": become_a_loop,
    "dangling": become_a_link_to_nothing,
    "pipe": become_a_pipe,
}


def set_field(name: str, value: Any) -> Damage:
    """Set a field of a JSON file, `chunks.0.rows` or `pair`; a value that is `...` removes it."""

    def damage(path: Path) -> None:
        content = json.loads(path.read_bytes())
        *parents, last = [int(part) if part.isdigit() else part for part in name.split(".")]
        inside = content
        for part in parents:
            inside = inside[part]
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
        path.write_text(json.dumps(content))

    return damage


def repeat_a_key(path: Path) -> None:
    path.write_text(path.read_text().replace("{", '{"start": "2019-01-01",', 1))


def list_a_day_twice(path: Path) -> None:
    content = json.loads(path.read_bytes())
    content["chunks"].append({**content["chunks"][0], "sha256": "0" * 64})
    path.write_text(json.dumps(content))


ABSENCE = {"kind": "outage", "start_ms": 1715299200000, "end_ms": 1715299260000, "minutes": 1}
OF_DATASET = {
    **{
        f"start {value}": set_field("start", value) for value in ("9999-12-31", "0001-01-01", "2024-13-01", 5, None, "")
    },
    **{f"format {value}": set_field("format", value) for value in (2, "1", None, 1.5)},
    **{f"market {value}": set_field("market", value) for value in ("futures", "margin", "", 1, "../spot")},
    **{
        f"pair {value}"[:30]: set_field("pair", value)
        for value in ("ETH/USDT", "../../x", "/etc/passwd", "", 7, "A" * 10**5)
    },
    **{
        f"tz {value}"[:30]: set_field("tz", value)
        for value in ("Mars/Base", "../etc", "+99:00", "", "U" * 10**5, "a\0b")
    },
    **{f"live {value}": set_field("live", value) for value in ("true", 1, None)},
    **{
        f"asked {number}": set_field("asked", value)
        for number, value in enumerate(
            (
                [{"start": "2024-05-12", "end": "2024-05-10"}],
                [{"start": "2024-05-10", "end": "2024-05-10"}],
                [{"start": "0001-01-01T00:00+14:00", "end": "2024-05-10"}],
                [{"start": "2024-05-10", "end": "9999-12-31T23:59Z"}],
                [{"start": 1, "end": 2}],
                [{"start": "2024-05-10"}],
                {"start": "2024-05-10"},
                "all",
                None,
            )
        )
    },
    **{f"no {name}": set_field(name, ...) for name in ("format", "market", "pair", "tz", "start", "live", "asked")},
    "a key twice": repeat_a_key,
}
OF_MANIFEST = {
    **{
        f"day {value}": set_field("chunks.0.day", value)
        for value in ("9999-12-31", "0001-01-01", "2024-02-30", 7, None)
    },
    **{f"rows {value}": set_field("chunks.0.rows", value) for value in (-1, 10**30, 1.5, "1440", None)},
    **{f"expected {value}": set_field("chunks.0.expected_rows", value) for value in (-1, 0, 10**9)},
    **{f"bytes {value}": set_field("chunks.0.bytes", value) for value in (-1, 0, 10**18, None)},
    **{
        f"sha256 {value}"[:20]: set_field("chunks.0.sha256", value)
        for value in ("", "0", "X" * 64, "0" * 63, "0" * 65, None, 5, "../" * 20)
    },
    **{f"first {value}": set_field("chunks.0.first_open_time", value) for value in (-60000, 10**18, 1, "now", None)},
    **{
        f"absence {name} {value}": set_field("chunks.0.absences", [ABSENCE | {name: value}])
        for name, value in (
            ("start_ms", -60_000),
            ("start_ms", 1),
            ("start_ms", 10**18),
            ("end_ms", 1715299200000),
            ("end_ms", 1715299140000),
            ("end_ms", 253402300800000),
            ("minutes", 0),
            ("minutes", -5),
            ("kind", "holiday"),
            ("kind", None),
        )
    },
    "absences overlap": set_field("chunks.0.absences", [ABSENCE, ABSENCE]),
    **{f"source {value}"[:20]: set_field("chunks.0.source", value) for value in ("", "r" * 10**5, None)},
    **{f"state {value}": set_field("chunks.0.state", value) for value in ("sure", 1)},
    **{f"chunks {value}": set_field("chunks", value) for value in (None, {}, "all", [None], [[]])},
    **{
        f"no {name}": set_field(f"chunks.1.{name}", ...)
        for name in ("day", "rows", "bytes", "sha256", "source", "file")
    },
    **{
        f"of {name}": set_field(name, value)
        for name, value in (("pair", "ETH/USDT"), ("market", "futures"), ("tz", "+01:00"))
    },
    "a day twice": list_a_day_twice,
}


def rewritten(change: Callable[[dict[str, Any]], None], *, rows: int | None = None) -> Damage:
    """Write the chunk anew with another footer, or other klines, and forget the manifest, which tells its sha256."""

    def damage(path: Path) -> None:
        with pq.ParquetFile(path) as file:
            table, footer = file.read(), json.loads(file.metadata.metadata[b"market_data"])
        change(footer)
        with pq.ParquetWriter(path, table.schema.remove_metadata(), store_schema=False) as writer:
            writer.add_key_value_metadata({b"market_data": json.dumps(footer).encode()})
            writer.write_table(table if rows is None else pa.concat_tables([table] * rows))
        (path.parents[1] / "manifest.json").unlink()

    return damage


OF_CHUNK = {
    "flipped": flip_a_byte,
    "gone": vanish,
    **{
        f"footer {name} {value}"[:40]: rewritten(lambda footer, name=name, value=value: footer.update({name: value}))
        for name, value in (
            ("format", 2),
            ("market", "futures"),
            ("pair", "ETH/USDT"),
            ("tz", "+01:00"),
            ("day", "2024-05-12"),
            ("day", "../../x"),
            ("source", None),
            ("absences", [ABSENCE]),
            ("absences", [ABSENCE | {"end_ms": 10**18}]),
            ("absences", "none"),
            ("flaws", [{"rule": "x", "sources": ["rest"], "open_times": [1], "values": ["1"]}]),
            ("flaws", [{"rule": "x", "sources": ["rest"], "open_times": [], "values": ["nan"]}]),
        )
    },
    "rows twice": rewritten(lambda footer: None, rows=2),
    "a thousand days of rows": rewritten(lambda footer: None, rows=1000),
}
STRAYS = [
    "chunk_000000_2024-05-10.parquet",
    "chunk_000001_2018-01-01.parquet",
    "chunk_000001_0001-01-01.parquet",
    "chunk_999999_9999-12-31.parquet",
    "chunk_000001_2020-01-01.parquet",
    "chunk_009999_2024-05-10.parquet",
    f"{FIRST.removesuffix('.parquet')} (1).parquet",
    f"{FIRST}~",
    f".{FIRST}.swp",
    f"{FIRST}.bak",
    "desktop.ini",
    ".DS_Store",
    "Thumbs.db",
    "chunk_000001_2020-02-30.parquet",
    "BTCUSDT_1m_all.parquet",
]
CASES: list[tuple[str, str, Damage]] = [
    *(("dataset.json", name, damage) for name, damage in (ANY | OF_DATASET).items()),
    *(("manifest.json", name, damage) for name, damage in (ANY | OF_MANIFEST).items()),
    *((f"chunks/{LAST}", name, damage) for name, damage in (ANY | OF_CHUNK).items()),
    *(("combined/BTCUSDT_1m_all.parquet", name, damage) for name, damage in ANY.items()),
    *(("revisions.jsonl", name, damage) for name, damage in ANY.items()),
]
NAMED = [pytest.param(file, damage, id=f"{file}-{name}") for file, name, damage in CASES]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there, and there are no such pipes")
pytestmark = [posix_only, pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Built:
    """A store of two whole days with a combined file, the exchange it came from, and what the reader gives of it."""

    root: Path
    running: RunningExchange
    klines: pa.Table


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    root = tmp_path_factory.mktemp("built") / "root"
    with serve(SimulatedExchange(now=NOON, speed=0)) as running:
        run = MarketData(root, running.url)
        assert run.run(*SPOT, "backfill", *DAYS).returncode == 0
        assert run.run(*SPOT, "combine").returncode == 0
        (dataset_folder(root, "spot", "BTCUSDT") / "revisions.jsonl").touch()
        yield Built(root, running, open_dataset("BTC/USDT", market="spot", root=root).to_arrow())


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> tuple[MarketData, Path]:
    """The command line on a copy of the store, and the dataset's folder in it."""
    shutil.copytree(built.root, tmp_path / "root", ignore=shutil.ignore_patterns("logs"))
    run = MarketData(tmp_path / "root", built.running.url)
    return run, dataset_folder(run.root, "spot", "BTCUSDT")


def test_there_are_at_least_150_damages() -> None:
    assert len({(file, name) for file, name, _ in CASES}) == len(CASES)
    assert len(CASES) + len(STRAYS) >= 150


@pytest.mark.parametrize(("file", "damage"), NAMED)
def test_no_damage_is_read_as_a_value_or_ends_in_a_traceback(
    copied: tuple[MarketData, Path], built: Built, file: str, damage: Damage
) -> None:
    run, folder = copied
    damage(folder / file)
    before = names(folder)
    for words in (("status", "--json"), ("verify", "--json")):
        result = run(*SPOT, *words)
        assert result.exit_code in {0, 1, 3}, result.output
        assert "Traceback" not in result.output
        if result.stdout:
            json.loads(result.stdout)
        else:
            [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
            assert Path(file).name in line
    assert reads_nothing_false(run, built)
    assert names(folder) == before, "looking changed something"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that nobody can read")
@pytest.mark.parametrize(
    ("file", "is_listed"), [(f"chunks/{LAST}", True), (f"chunks/{LAST}", False), ("manifest.json", True)]
)
def test_what_the_disk_does_not_give_is_no_damage(copied: tuple[MarketData, Path], file: str, is_listed: bool) -> None:
    run, folder = copied
    assert run(*SPOT, "snapshot", "before").exit_code == 0
    kept = (folder / file).read_bytes()
    (folder / file).unlink()
    if not is_listed:
        (folder / "manifest.json").unlink()
    # Reading its first byte is an I/O error (EIO) for everybody.
    (folder / file).symlink_to("/proc/self/mem")
    asked = [(*SPOT, "verify"), (*SPOT, "verify", "--repair"), (*SPOT, "backfill", *DAYS)]
    if file.startswith("chunks"):
        asked.append(("verify", "--snapshot", "before"))
    for words in asked:
        done = run(*words)
        assert done.exit_code == 3, (words, done.output)
        [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "Input/output error" in line and file in line and "repair" not in line
    with pytest.raises(StoreUnavailable, match="Input/output error") as refused:
        open_dataset("BTC/USDT", market="spot", root=run.root).to_arrow()
    assert "repair" not in str(refused.value)
    assert (folder / file).is_symlink() and not (folder / "quarantine").exists()
    (folder / file).unlink()
    (folder / file).write_bytes(kept)
    assert run(*SPOT, "verify").exit_code == 0


NOT_ALLOWED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Before a command of root: it may read what the permissions of a file say, as other users."""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("file", [f"chunks/{LAST}", "combined/BTCUSDT_1m_all.parquet"])
def test_a_file_of_another_user_is_no_damage(copied: tuple[MarketData, Path], file: str) -> None:
    run, folder = copied
    (folder / file).chmod(0)
    done = replace(run, under=NOT_ALLOWED if os.geteuid() == 0 else ()).run(*SPOT, "verify", "--repair")
    assert (done.returncode, done.stdout) == (3, "")
    cure = "run this as the user who owns it, or make it yours (chown)"
    assert done.stderr == f"error: Permission denied: {folder / file}; {cure}\n"
    assert not (folder / "quarantine").exists()


@pytest.mark.parametrize("are_lists_first", [True, False], ids=["lists first", "chunks first"])
@pytest.mark.parametrize("cure", ["repair", "delete the manifest"])
def test_a_copy_that_was_taken_during_a_load_is_mended_as_docs_operations_says(
    copied: tuple[MarketData, Path], cure: str, are_lists_first: bool
) -> None:
    """Its manifest is older or newer than its chunks: one of them was replaced, and one is new."""
    run, folder = copied
    before = folder.parents[2].with_name("before")
    shutil.copytree(run.root, before)
    one_trade_more_each_minute(run.root, "2024-05-11")
    assert run(*SPOT, "backfill", "--start", "2024-05-12", "--end", "2024-05-13").exit_code == 0
    older = dataset_folder(before, "spot", "BTCUSDT")
    for name in ["dataset.json", "manifest.json"] if are_lists_first else ["chunks"]:
        shutil.rmtree(folder / name) if name == "chunks" else (folder / name).unlink()
        (older / name).rename(folder / name)
    verified = run(*SPOT, "verify")
    assert verified.exit_code == 1
    assert f"{LAST} is not the file that was written" in verified.stdout
    assert ("chunk_001594_2024-05-12.parquet is missing" in verified.stdout) is not are_lists_first
    if cure == "repair":
        assert run(*SPOT, "verify", "--repair").exit_code == 0
    else:
        (folder / "manifest.json").unlink()
        left = run(*SPOT, "verify")
        assert left.exit_code == (0 if are_lists_first else 1)
        assert ("no chunk for 1,440 requested minutes" in left.stdout) is not are_lists_first
        revisions = json.loads(run("status", "--json").stdout)[0].get("revisions")
        # One whose new chunk is not in the copy did not take place there.
        assert (revisions is not None) is are_lists_first
        assert run(*SPOT, "backfill", *DAYS[:2], "--end", "2024-05-13").exit_code == 0
    done = run(*SPOT, "verify")
    assert (done.exit_code, "3 days, 4,320 klines" in done.stdout) == (0, True), done.stdout


def reads_nothing_false(run: MarketData, built: Built) -> bool:
    """Whether the reader gives the klines that were stored, or refuses in one line."""
    try:
        return bool(open_dataset("BTC/USDT", market="spot", root=run.root).to_arrow().equals(built.klines))
    except MarketDataError as error:
        return "\n" not in str(error)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "damage"), NAMED)
def test_what_can_be_healed_is_whole_after_a_backfill(
    copied: tuple[MarketData, Path], built: Built, file: str, damage: Damage
) -> None:
    run, folder = copied
    damage(folder / file)
    others = data_files(run.root, but=Path(file).name)
    result = run(*SPOT, "backfill", *DAYS)
    if file == "dataset.json" and result.exit_code:
        [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert str(folder / file) in line
        assert data_files(run.root, but=Path(file).name) == others
        return
    assert result.exit_code == 0, result.output
    # A file whose end is whole looks up to date; the check that reads it whole names the damage.
    if file.startswith("combined") and run(*SPOT, "combine").exit_code:
        assert run(*SPOT, "verify", "--repair").exit_code == 0
    if file != "revisions.jsonl":
        verified = run(*SPOT, "verify", "--json")
        assert verified.exit_code == 0, verified.output
    assert open_dataset("BTC/USDT", market="spot", root=run.root).to_arrow().equals(built.klines)


@pytest.mark.parametrize("name", STRAYS)
@pytest.mark.parametrize("content", ["another pair's chunk", "nothing"])
def test_a_stray_file_moves_no_start_and_is_left_alone(
    copied: tuple[MarketData, Path], built: Built, name: str, content: str
) -> None:
    run, folder = copied
    stray = folder / "chunks" / name
    rewritten(lambda footer: footer.update(pair="ETH/USDT"))(shutil.copy(folder / "chunks" / FIRST, stray)) if (
        content != "nothing"
    ) else stray.write_bytes(b"")
    if not (folder / "manifest.json").exists():
        shutil.copy(dataset_folder(built.root, "spot", "BTCUSDT") / "manifest.json", folder)
    was, start = stray.read_bytes(), json.loads((folder / "dataset.json").read_bytes())["start"]
    assert name in run(*SPOT, "verify").stdout
    assert run(*SPOT, "backfill", *DAYS).exit_code == 0
    assert json.loads((folder / "dataset.json").read_bytes())["start"] == start
    assert stray.read_bytes() == was
    assert run(*SPOT, "verify").exit_code == 0
