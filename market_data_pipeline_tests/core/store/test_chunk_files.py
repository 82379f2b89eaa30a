"""Chunk files: which of them are in use, what a file that cannot be read is, and where a damaged one goes."""

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from market_data_pipeline.core.errors import BadAnswer, StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import day_of, parse_zone
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks import files
from market_data_pipeline.core.store.chunks.encoding import encode
from market_data_pipeline.core.store.chunks.growing import grown_chunk
from market_data_pipeline.core.store.manifest import from_text, to_text
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE, changed, day, klines_of, span, whole
from market_data_pipeline_tests.core.store.conftest import in_a_folder

DAY = day("2024-03-05")
DATASET = Dataset(Market.SPOT, "BTC/USDT", UTC_ZONE, date(2024, 3, 1))
HALT = Absence(Kind.OUTAGE, span("2024-03-05T04:00Z", "2024-03-05T05:30Z"))
KLINES = klines_of(whole(DAY), without=[HALT.span])
RIGHT, EARLIER, LATER = (f"chunk_{index:06d}_2024-03-05.parquet" for index in (5, 2, 34))


@pytest.fixture
def chunks(root: Any) -> Any:
    """The folder of chunks of a dataset."""
    folder = root / "1m" / "chunks"
    folder.mkdir(parents=True)
    return folder


def a_chunk() -> files.NewChunk:
    return files.new_chunk(DATASET, DAY, KLINES, [HALT], source="rest")


def names(folder: Any) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_chunk_is_read_as_it_was_made(chunks: Any) -> None:
    new = a_chunk()
    path = chunks / RIGHT
    path.write_bytes(new.content)
    assert files.read(path, DATASET, DAY) == new.chunk
    assert (new.chunk.entry.sha256, new.chunk.entry.size_bytes) == (sha256_of(new.content), len(new.content))
    assert files.written(path, DATASET, DAY, KLINES, new.chunk.entry) == new.chunk
    assert files.of_entry(DATASET, DAY, KLINES, new.chunk.entry) == new.chunk
    path.write_bytes(new.content + b"!")
    assert files.written(path, DATASET, DAY, KLINES, new.chunk.entry) is None


def test_the_longest_day_of_all_zones_is_stored_and_listed(chunks: Any) -> None:
    zone, key = parse_zone("Antarctica/Casey"), "2023-03-09"
    on, dataset = day_of(zone, date.fromisoformat(key)), Dataset(Market.SPOT, "BTC/USDT", zone, date(2023, 3, 1))
    assert on.minutes == 27 * 60
    new = files.new_chunk(dataset, on, klines_of(whole(on)), [], source="rest")
    path = chunks / layout.chunk_name(dataset, key)
    path.write_bytes(new.content)
    assert files.read(path, dataset, on) == new.chunk
    assert from_text(to_text(dataset, [new.chunk.entry]), dataset) == {key: new.chunk.entry}


def test_a_chunk_that_is_not_there_is_missing(chunks: Any) -> None:
    for read in (
        lambda: files.read(chunks / RIGHT, DATASET, DAY),
        lambda: files.written(chunks / RIGHT, DATASET, DAY, KLINES, a_chunk().chunk.entry),
    ):
        with pytest.raises(StoreError) as refused:
            read()
        assert str(refused.value) == f"the chunk {RIGHT} is missing"


@in_a_folder
def test_what_is_in_the_place_of_a_chunk_and_no_file_is_an_error_of_one_line(chunks: Any) -> None:
    (chunks / RIGHT).mkdir()
    with pytest.raises(StoreError, match=f"^the chunk {RIGHT} cannot be read: .+$"):
        files.read(chunks / RIGHT, DATASET, DAY)


@pytest.mark.parametrize("root", ["folder", "memory"], indirect=True)
def test_a_place_that_does_not_give_a_chunk_says_nothing_of_it(chunks: Any) -> None:
    def away(_day: str, _path: Any) -> tuple[bytes, str]:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        files.read(chunks / RIGHT, DATASET, DAY, away)

    def too_large(_day: str, _path: Any) -> tuple[bytes, str]:
        raise ValueError("it is larger than 64 MB")

    with pytest.raises(StoreError, match="cannot be read: it is larger than 64 MB"):
        files.read(chunks / RIGHT, DATASET, DAY, too_large)


def test_what_is_no_chunk_of_the_dataset_and_day_is_refused(chunks: Any) -> None:
    (chunks / RIGHT).write_bytes(b"garbage")
    with pytest.raises(StoreError, match=f"the chunk {RIGHT} cannot be read: (Parquet|Could)"):
        files.read(chunks / RIGHT, DATASET, DAY)
    (chunks / RIGHT).write_bytes(a_chunk().content)
    with pytest.raises(StoreError, match=f"the chunk {RIGHT} is of spot BTC/USDT UTC 2024-03-05 by its footer"):
        files.read(chunks / RIGHT, DATASET, day("2024-03-06"))


def test_a_chunk_with_more_rows_than_a_day_has_minutes_is_refused(chunks: Any) -> None:
    (chunks / RIGHT).write_bytes(encode(pa.concat_tables([KLINES, KLINES]), a_chunk().chunk.footer))
    with pytest.raises(StoreError, match=f"{RIGHT} cannot be read: it says that it has 2,700 rows"):
        files.read(chunks / RIGHT, DATASET, DAY)


@pytest.mark.parametrize(
    ("stored", "more", "together"),
    [
        ("rest", "rest", "rest"),
        ("archive+rest", "rest", "archive+rest"),
        ("rest", "archive+rest", "archive+rest"),
        ("rest", "archive", "archive+rest"),
    ],
)
def test_a_chunk_that_grows_names_each_of_its_sources_once(stored: str, more: str, together: str) -> None:
    chunk = files.new_chunk(DATASET, DAY, KLINES, [HALT], source=stored).chunk
    grown = grown_chunk(DATASET, DAY, chunk, klines_of(HALT.span), more)
    assert grown and grown.chunk.footer.source == together
    assert grown.chunk.klines.equals(klines_of(whole(DAY)))
    assert grown.chunk.footer.absences == ()
    assert grown_chunk(DATASET, DAY, chunk, KLINES, more) is None


def test_of_several_files_of_a_day_the_one_with_the_right_index_is_in_use(chunks: Any) -> None:
    for name in (EARLIER, RIGHT, LATER, "chunk_000006_2024-03-06.parquet", "chunk_6_2024-03-06.parquet", "notes.txt"):
        (chunks / name).write_bytes(b"-")
    found = files.scan(chunks, DATASET)
    assert found.paths == {"2024-03-05": chunks / RIGHT, "2024-03-06": chunks / "chunk_000006_2024-03-06.parquet"}
    assert found.others == sorted([EARLIER, LATER, "chunk_6_2024-03-06.parquet", "notes.txt"])
    assert files.misnamed([RIGHT, *found.others], DATASET) == [("2024-03-05", LATER), ("2024-03-05", EARLIER)]
    (chunks / RIGHT).unlink()
    assert files.scan(chunks, DATASET).paths["2024-03-05"] == chunks / LATER
    assert files.scan(chunks.parent / "none", DATASET) == ({}, [])


def test_a_chunk_that_is_being_written_is_neither_a_chunk_nor_another_file(chunks: Any) -> None:
    for name in (RIGHT, f"{RIGHT}.tmp", LATER, "notes.txt", "notes.txt.tmp"):
        (chunks / name).write_bytes(b"-")
    assert files.scan(chunks, DATASET) == ({"2024-03-05": chunks / RIGHT}, [LATER, "notes.txt", "notes.txt.tmp"])


def test_chunks_are_renamed_after_the_start(chunks: Any) -> None:
    (chunks / LATER).write_bytes(b"one")
    (chunks / "chunk_000006_2024-03-06.parquet").write_bytes(b"other")
    renamed = files.rename(files.scan(chunks, DATASET).paths, DATASET)
    assert renamed == {"2024-03-05": chunks / RIGHT, "2024-03-06": chunks / "chunk_000006_2024-03-06.parquet"}
    assert names(chunks) == [RIGHT, "chunk_000006_2024-03-06.parquet"]
    assert (chunks / RIGHT).read_bytes() == b"one"


def test_a_file_that_is_set_aside_takes_no_place_of_another(chunks: Any) -> None:
    quarantine = chunks.parent / "quarantine"
    for number, content in enumerate((b"one", b"two", b"three")):
        (chunks / RIGHT).write_bytes(content)
        target = files.set_aside(chunks / RIGHT, keep=number == 1)
        assert target == quarantine / (RIGHT if number == 0 else f"{RIGHT}.{number}")
        assert target.read_bytes() == content
        assert storage_of(chunks).is_file(chunks / RIGHT) is (number == 1)
    assert names(quarantine) == [RIGHT, f"{RIGHT}.1", f"{RIGHT}.2"]


def test_a_folder_that_is_set_aside_takes_no_place_of_another(chunks: Any) -> None:
    """In a bucket it is what several objects have in common."""
    quarantine, whole = chunks.parent / "quarantine", ["_temporary/0/part-0.parquet", "_temporary/part-1.parquet"]
    for content in (b"one", b"two"):
        for name in whole:
            storage_of(chunks).make_folder((chunks / name).parent)
            storage_of(chunks).write(chunks / name, content)
        [stranger] = files.scan(chunks, DATASET).others
        target = files.set_aside(chunks / stranger)
        assert [(target / name.removeprefix("_temporary/")).read_bytes() for name in whole] == [content] * 2
        assert not any(storage_of(chunks).is_file(chunks / name) for name in whole)
    assert names(quarantine) == ["_temporary", "_temporary.1"]


def test_only_copies_and_chunks_are_taken_for_such() -> None:
    assert all(map(files.is_chunk_or_copy, (RIGHT, f"{RIGHT}.1", f"{RIGHT}.17")))
    assert not any(map(files.is_chunk_or_copy, (f"{RIGHT}.tmp", f"{RIGHT}.a", "notes.txt", f"{RIGHT}.1.2")))


def test_klines_that_break_a_rule_become_no_chunk() -> None:
    for klines, absences, problem in (
        (KLINES, [], "90 minutes"),
        (changed(KLINES, "high", 0, -1.0), [HALT], "high"),
    ):
        with pytest.raises(BadAnswer, match=f"^spot BTC/USDT 2024-03-05 was not stored: .*{problem}"):
            files.new_chunk(DATASET, DAY, klines, absences, source="rest")
    with pytest.raises(BadAnswer) as refused:
        files.new_chunk(DATASET, DAY, changed(KLINES, "high", 0, -1.0), [], source="rest")
    assert str(refused.value) == (
        "spot BTC/USDT 2024-03-05 was not stored: high is not a price: 1 kline, first at 2024-03-05T00:00Z; absent "
        "without a reason: 90 minutes from 2024-03-05T04:00Z"
    )
    # Klines that were checked before are not checked again, their coverage is.
    with pytest.raises(BadAnswer):
        files.new_chunk(DATASET, DAY, KLINES, [], source="rest", checked=True)
    assert files.chunk_problems(KLINES, a_chunk().chunk.footer, DAY) == []


def test_a_flaw_names_the_sources_that_have_it() -> None:
    volume = KLINES.column("volume").to_pylist()[7]
    flawed = changed(KLINES, "taker_base_volume", 7, volume + 1.0)
    at_ms = KLINES.column("open_time").to_pylist()[7]

    def sources(source: str, *said: Flaw) -> tuple[str, ...]:
        new = files.new_chunk(DATASET, DAY, flawed, [HALT], source=source, said=said)
        [flaw] = new.chunk.footer.flaws
        assert flaw.open_time == at_ms
        return flaw.sources

    assert sources("archive+rest", Flaw(at_ms, "any", 1.0, ("archive",))) == ("archive",)
    assert sources("archive+live") == ("archive", "rest")
    elsewhere = Flaw(at_ms + 60_000, "any", 1.0, ("archive",))
    assert sources("rest", elsewhere) == ("rest",)
