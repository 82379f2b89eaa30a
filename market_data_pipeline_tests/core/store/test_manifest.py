"""The manifest: what it lists is what was written last, by any process, and it is of one dataset."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, parse_zone
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import EMPTY
from market_data_pipeline.core.store.chunks.encoding import Footer
from market_data_pipeline.core.store.chunks.manifest_file import ManifestFile
from market_data_pipeline.core.store.manifest import Entry, State, from_text, to_text
from market_data_pipeline_tests.core.fakes import UTC_ZONE, at, day, klines_of, span, whole

DAY = day("2024-03-05")
DATASET = Dataset(Market.SPOT, "BTC/USDT", UTC_ZONE, date(2024, 3, 1))
HALT = Absence(Kind.OUTAGE, span("2024-03-05T04:00Z", "2024-03-05T05:30Z"), ("archive: none",))
FLAW = Flaw(DAY.start_ms, "taker_base_volume is above volume", 1e9, ("archive", "rest"))


def entry_of(key: str = DAY.key, source: str = "rest", *absences: Absence, flaws: tuple[Flaw, ...] = ()) -> Entry:
    on = day(key)
    klines = klines_of(whole(on), without=[absence.span for absence in absences])
    footer = Footer("spot", "BTC/USDT", "UTC", key, source, absences, flaws)
    return Entry.of_chunk(on, klines, footer, size_bytes=123, sha256="ab" * 32)


ENTRY, LATER = entry_of(), entry_of("2024-03-06")


def write(path: Any, *entries: Entry, seconds_ago: int) -> None:
    """As another process, so long ago; an object has no such time that counts."""
    ManifestFile(path, DATASET).update(DATASET, lambda _: {entry.day: entry for entry in entries})
    if isinstance(path, Path):
        written_s = time.time() - seconds_ago
        os.utime(path, (written_s, written_s))


def test_a_manifest_that_another_process_replaced_is_read_again(root: Any) -> None:
    path = root / "manifest.json"
    file = ManifestFile(path, DATASET)
    assert file.entries() is None
    write(path, ENTRY, seconds_ago=60)
    first = file.entries()
    assert first == {DAY.key: ENTRY}
    assert file.entries() is first, "it was parsed once"
    write(path, ENTRY, LATER, seconds_ago=30)
    assert file.entries() == {DAY.key: ENTRY, LATER.day: LATER}
    path.unlink()
    assert file.entries() is None


def test_a_young_manifest_is_parsed_once_while_a_lock_keeps_others_from_writing(tmp_path: Path) -> None:
    """Another one may have its length, its time and its inode, so without the lock it is parsed each time."""
    path, file = tmp_path / "manifest.json", ManifestFile(tmp_path / "manifest.json", DATASET)
    write(path, ENTRY, seconds_ago=0)
    stamp, other = path.stat(), to_text(DATASET, [replace(ENTRY, sha256="f" * 64)])
    with file.undisturbed():
        first = file.entries()
        assert first == {DAY.key: ENTRY}
        path.write_bytes(other)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert file.entries() is first
        both = file.update(DATASET, lambda found: {**(found or {}), LATER.day: LATER})
        assert file.entries() == both == {DAY.key: ENTRY, LATER.day: LATER}
        path.write_bytes(to_text(DATASET, [ENTRY]))
        assert file.entries() == {DAY.key: ENTRY}, "it has another length"
    path.write_bytes(other)
    assert file.entries() == {DAY.key: replace(ENTRY, sha256="f" * 64)}


def test_an_update_starts_from_what_another_process_has_written(root: Any) -> None:
    path = root / "manifest.json"
    file = ManifestFile(path, DATASET)
    listed = file.update(DATASET, lambda found: {DAY.key: ENTRY} if found is None else {})
    assert listed == {DAY.key: ENTRY} == file.entries()
    write(path, LATER, seconds_ago=30)
    both = file.update(DATASET, lambda found: {**(found or {}), DAY.key: ENTRY})
    assert both == {DAY.key: ENTRY, LATER.day: LATER} == ManifestFile(path, DATASET).entries()


def test_each_reader_is_told_that_a_manifest_is_corrupt(root: Any) -> None:
    path = root / "manifest.json"
    path.write_bytes(b"{")
    file = ManifestFile(path, DATASET)
    for _ in range(2):
        told: list[str] = []
        assert file.entries(warn=told.append) is None
        [line] = told
        assert line.startswith(f"{path} is corrupt (")
        assert line.endswith("); it is rebuilt from the chunks")
    assert file.entries() is None


def test_a_manifest_of_a_newer_version_is_neither_read_nor_rewritten(root: Any) -> None:
    path = root / "manifest.json"
    newer = b'{"format": 2, "chunks": {}}'
    path.write_bytes(newer)
    file, told = ManifestFile(path, DATASET), list[str]()
    assert file.entries(warn=told.append) is None
    assert told == [f"{path} is not read: a newer version of market-data wrote it; update market-data"]
    with pytest.raises(StoreError, match="a newer version of market-data wrote it; update market-data"):
        file.update(DATASET, lambda _: {DAY.key: ENTRY})
    assert path.read_bytes() == newer


@pytest.mark.parametrize(
    ("other", "is_of"),
    [
        (replace(DATASET, market=Market.FUTURES), "futures BTC/USDT in UTC"),
        (replace(DATASET, pair="ETH/USDT"), "spot ETH/USDT in UTC"),
        (replace(DATASET, zone=parse_zone("Asia/Tokyo")), "spot BTC/USDT in Asia/Tokyo"),
    ],
)
def test_a_manifest_of_another_dataset_is_refused(other: Dataset, is_of: str) -> None:
    text = to_text(other, [ENTRY])
    assert from_text(text) == {DAY.key: ENTRY}
    with pytest.raises(ValueError, match=f"it is of {is_of}"):
        from_text(text, DATASET)


def test_a_manifest_with_a_day_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="it lists a day twice"):
        from_text(to_text(DATASET, [ENTRY, ENTRY]))


def test_all_that_an_entry_has_comes_back_from_its_line() -> None:
    entries = [entry_of(DAY.key, "archive+rest", HALT, flaws=(FLAW,)), LATER.attested(State.ARCHIVED)]
    text = to_text(DATASET, reversed(entries))
    again = list(from_text(text, DATASET).values())
    assert again == entries
    assert [entry.state for entry in again] == [State.CONFIRMED, State.ARCHIVED]
    # One line for each chunk, by day.
    assert [
        b'"day":"2024-03-0%d"' % number in line for number, line in zip((5, 6), text.splitlines()[1:3], strict=True)
    ]


def test_an_entry_without_a_state_has_the_one_of_its_chunk() -> None:
    text = to_text(DATASET, [entry_of(source="archive").attested(State.ARCHIVED)])
    older = text.replace(b'"state":"archived",', b"")
    assert older != text
    assert from_text(older)[DAY.key].state is State.ARCHIVED


@pytest.mark.parametrize(
    ("source", "kind", "state"),
    [
        ("archive", Kind.OUTAGE, State.ARCHIVED),
        ("rest", Kind.OUTAGE, State.CONFIRMED),
        ("archive+rest", Kind.OUTAGE, State.CONFIRMED),
        ("live+rest", Kind.OUTAGE, State.PROVISIONAL),
        ("archive", Kind.OPEN, State.PROVISIONAL),
    ],
)
def test_a_chunk_by_itself_is_as_sure_as_its_sources(source: str, kind: Kind, state: State) -> None:
    entry = entry_of(DAY.key, source, replace(HALT, kind=kind))
    assert entry.state is state
    assert (entry.was_read_live, entry.is_over, entry.complete) == (
        "live" in source, kind is not Kind.OPEN, kind is not Kind.OPEN,
    )  # fmt: skip


def test_an_entry_is_attested_by_the_surest_state() -> None:
    assert ENTRY.state is State.CONFIRMED
    assert ENTRY.attested(State.ARCHIVED, State.PROVISIONAL).state is State.ARCHIVED
    assert ENTRY.attested(State.PROVISIONAL).state is State.CONFIRMED


def test_an_entry_has_the_edges_of_its_klines() -> None:
    before = Absence(Kind.NOT_LISTED, span("2024-03-05", "2024-03-05T03:00Z"))
    entry = entry_of(DAY.key, "rest", before, HALT)
    assert (entry.rows, entry.expected_rows, entry.size_bytes) == (1440 - 180 - 90, 1440, 123)
    assert (entry.first_open_time, entry.last_open_time) == (at("2024-03-05T03:00Z"), DAY.end_ms - MINUTE_MS)
    assert [entry.minutes_absent(kind) for kind in (Kind.NOT_LISTED, Kind.OUTAGE, Kind.OPEN)] == [180, 90, 0]
    none = Footer("spot", "BTC/USDT", "UTC", DAY.key, "rest", (Absence(Kind.OUTAGE, whole(DAY)),))
    empty = Entry.of_chunk(DAY, EMPTY, none, size_bytes=1, sha256="ab" * 32)
    assert (empty.rows, empty.first_open_time, empty.last_open_time) == (0, None, None)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('"rows":1440', '"rows":0'),
        ('"rows":1440', '"rows":1441'),
        ('"rows":1440', '"rows":-1'),
        ('"expected_rows":1440', '"expected_rows":1621'),
        ('"bytes":123', '"bytes":0'),
        ('"bytes":123', '"bytes":64000001'),
        (f'"first_open_time":{DAY.start_ms}', '"first_open_time":null'),
        (f'"first_open_time":{DAY.start_ms}', f'"first_open_time":{DAY.start_ms + 1}'),
        (f'"first_open_time":{DAY.start_ms}', f'"first_open_time":{DAY.end_ms}'),
        ('"source":"rest"', '"source":""'),
        ('"source":"rest"', f'"source":"{"a" * 101}"'),
        ('"day":"2024-03-05"', '"day":"1900-03-05"'),
        ('"sha256":"ab', '"sha256":"zz'),
    ],
)
def test_a_line_that_cannot_be_of_a_chunk_is_refused(was: str, becomes: str) -> None:
    text = to_text(DATASET, [ENTRY]).decode()
    assert was in text
    with pytest.raises(ValueError, match=r"^\S"):
        from_text(text.replace(was, becomes, 1).encode())


def test_a_line_with_a_hash_that_is_none_is_named_by_it() -> None:
    text = to_text(DATASET, [ENTRY]).decode().replace('"sha256":"ab', '"sha256":"zz', 1)
    with pytest.raises(ValueError, match="'zzab.* is no sha256"):
        from_text(text.encode())


def test_absences_that_overlap_are_refused() -> None:
    touching = Absence(Kind.OUTAGE, span("2024-03-05T05:30Z", "2024-03-05T06:00Z"))
    overlapping = Absence(Kind.OUTAGE, span("2024-03-05T05:29Z", "2024-03-05T06:00Z"))
    assert from_text(to_text(DATASET, [entry_of(DAY.key, "rest", HALT, touching)]))
    with pytest.raises(ValueError, match="absences overlap or are not sorted"):
        from_text(to_text(DATASET, [entry_of(DAY.key, "rest", HALT, overlapping)]))


def test_threads_that_share_a_young_manifest_all_get_its_entries(tmp_path: Path) -> None:
    write(tmp_path / "manifest.json", seconds_ago=-60)
    file = ManifestFile(tmp_path / "manifest.json", DATASET)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: [file.entries() for _ in range(1000)], range(8)))
    finally:
        sys.setswitchinterval(interval_s)
    assert all(entries == {} for each in found for entries in each)
