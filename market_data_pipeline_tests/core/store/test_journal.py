"""The journal of a market: what is read of it, wherever it was cut, and who may remove which part of it."""

import errno
import re
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.errors import StoreError, StoreUnavailable
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import Bits, bits_of, of_bits
from market_data_pipeline.core.store.journal.segments import (
    Owner,
    journaled,
    last_journaled_ms,
    newest_journaled,
    read_segment,
    record,
    rows_of,
    segments,
)
from market_data_pipeline.core.store.journal.writing import JournalWriter
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline_tests.core.fakes import at, klines_at
from market_data_pipeline_tests.core.store.conftest import in_a_folder

BTC, ETH, ODD = Owner("BTC/USDT", "UTC"), Owner("ETH/USDT", "Europe/Zurich"), Owner("币安人生/USDT", "+05:30")
NOON = at("2024-03-05T12:00Z")


def rows(first: int, count: int = 1) -> Bits:
    return bits_of(klines_at(range(NOON + first * MINUTE_MS, NOON + (first + count) * MINUTE_MS, MINUTE_MS)))


def minutes_of(found: dict[Owner, tuple[Bits, ...]], owner: Owner) -> list[int]:
    return [(int(row[0]) - NOON) // MINUTE_MS for piece in found.get(owner, ()) for row in piece]


RECORDS = [
    record([(BTC, rows(0)), (ETH, rows(0, 3))]),
    record([(ODD, rows(7, 2))]),
    record([(BTC, rows(1)), (ETH, rows(3)), (ODD, rows(9))]),
]
ENDS = np.cumsum([0, *map(len, RECORDS)]).tolist()


def folder_of(root: Path, token: str) -> Path:
    return root / "binance" / token / "1m"


def test_the_bits_of_klines_are_klines_again() -> None:
    klines = klines_at(range(NOON, NOON + 5 * MINUTE_MS, MINUTE_MS))
    assert of_bits(bits_of(klines)).equals(klines)


def test_a_segment_that_was_cut_at_any_byte_has_the_whole_records_before_it() -> None:
    content = b"".join(RECORDS)
    whole = [rows_of(content[:end]) for end in ENDS]
    for cut in range(len(content) + 1):
        records = sum(end <= cut for end in ENDS) - 1
        found = rows_of(content[:cut])
        assert {owner: minutes_of(found, owner) for owner in found} == {
            owner: minutes_of(whole[records], owner) for owner in whole[records]
        }


def test_of_a_segment_that_grows_or_is_gone_nothing_old_stays_in_memory(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "BTCUSDT")
    first, second = (tmp_path / "binance" / ".journal" / f"{number}-a.journal" for number in (1, 2))
    first.parent.mkdir(parents=True)

    def kept(path: Path, *records: bytes) -> "weakref.ref[Bits]":
        path.write_bytes(b"".join(records))
        assert journaled(folder, BTC).num_rows
        return weakref.ref(read_segment(path).rows[BTC][0])

    young = kept(first, RECORDS[0])
    assert young() is read_segment(first).rows[BTC][0]
    grown = kept(first, *RECORDS)
    assert (young(), grown() is None) == (None, False)
    first.unlink()
    kept(second, RECORDS[0])
    assert last_journaled_ms(folder) == NOON
    assert grown() is None


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, ENDS[-1] - 1), byte=st.integers(1, 255), garbage=st.binary(max_size=40))
def test_a_changed_byte_ends_the_reading_and_never_makes_other_klines(place: int, byte: int, garbage: bytes) -> None:
    content = bytearray(b"".join(RECORDS))
    content[place] ^= byte
    records = max(number for number, end in enumerate(ENDS) if end <= place)
    expected, found = rows_of(b"".join(RECORDS[:records])), rows_of(bytes(content) + garbage)
    assert found.keys() == expected.keys()
    assert all(
        np.array_equal(one, other) for owner in found for one, other in zip(found[owner], expected[owner], strict=True)
    )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_segment_has_no_klines(content: bytes) -> None:
    assert rows_of(content) == {} or content.startswith(RECORDS[0])


def test_klines_are_read_until_they_are_folded_and_then_their_segment_is_removed(root: Any) -> None:
    journal = root / "binance" / ".journal"
    writer = JournalWriter(journal)
    assert journaled(folder_of(root, "BTCUSDT"), BTC).num_rows == 0
    writer.append([(BTC, rows(0)), (ETH, rows(0))])
    writer.append([(BTC, rows(1))])
    assert journaled(folder_of(root, "BTCUSDT"), BTC).num_rows == 2
    assert last_journaled_ms(folder_of(root, "ETHUSDT")) == NOON
    # A dataset of the same pair in another zone is another one.
    assert journaled(folder_of(root, "BTCUSDT"), Owner("BTC/USDT", "Asia/Tokyo")).num_rows == 0
    writer.note_folded(BTC)
    writer.close()
    assert journaled(folder_of(root, "ETHUSDT"), ETH).num_rows == 1
    taken: list[Owner] = []
    JournalWriter(journal).take_over(lambda owner, _: bool(taken.append(owner)))
    assert taken == [BTC, ETH]
    assert len(segments(journal)) == 1
    JournalWriter(journal).take_over(lambda *_: True)
    assert list(journal.iterdir()) == []


def test_the_newest_kline_of_each_dataset_is_found_in_whichever_segment_it_is(root: Any) -> None:
    journal = root / "binance" / ".journal"
    for klines in ([(BTC, rows(3)), (ETH, rows(0))], [(BTC, rows(1)), (ETH, rows(4))]):
        writer = JournalWriter(journal)
        writer.append(klines)
        writer.close()
    assert newest_journaled(journal) == {"BTCUSDT": NOON + 3 * MINUTE_MS, "ETHUSDT": NOON + 4 * MINUTE_MS}


def test_nobody_takes_over_from_a_process_that_goes_on(root: Any) -> None:
    journal = root / "binance" / ".journal"
    one, other = JournalWriter(journal), JournalWriter(journal)
    one.append([(BTC, rows(0))])
    other.append([(ETH, rows(0))])

    def refuse(owner: Owner, _: list[Bits]) -> bool:
        raise AssertionError(owner)

    other.take_over(refuse)
    one.note_folded(BTC)
    one.close()
    assert [minutes_of(rows_of(path.read_bytes()), ETH) for path in segments(journal)] == [[0]]
    other.note_folded(ETH)
    other.close()
    assert list(journal.iterdir()) == []


@in_a_folder
def test_a_process_whose_lock_cannot_be_opened_keeps_no_other_from_being_taken_over(root: Any) -> None:
    journal = root / "binance" / ".journal"
    for owner in (BTC, ETH):
        writer = JournalWriter(journal)
        writer.append([(owner, rows(0))])
        writer.close()
    first, second = segments(journal)
    lock = journal / f"{first.stem.partition('-')[2]}.lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(OSError, match=re.escape(lock.name)):
        JournalWriter(journal).take_over(lambda *_: True)
    assert segments(journal) == [first]
    lock.rmdir()
    JournalWriter(journal).take_over(lambda *_: True)
    assert segments(journal) == []
    assert not second.exists()


@in_a_folder
def test_a_segment_that_cannot_be_read_is_an_error_of_one_line(root: Any) -> None:
    journal = root / "binance" / ".journal"
    (journal / "1-a.journal").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"1-a\.journal cannot be read: it is no file"):
        journaled(folder_of(root, "BTCUSDT"), BTC)


@in_a_folder
def test_a_segment_that_the_disk_lets_nobody_read_is_no_damage(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    JournalWriter(root / "binance" / ".journal").append([(BTC, rows(0))])

    def refuse(path: Path, *_: int) -> bytes:  # root may read anything
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(FOLDER, "read", refuse)
    with pytest.raises(StoreUnavailable, match=r"Permission denied: .*\.journal; run this as the user who owns it"):
        journaled(folder_of(root, "BTCUSDT"), BTC)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """In the block no file of this process becomes larger: what is written beyond is not, as on a full disk."""
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems may write nothing of what has too little room")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@in_a_folder
@pytest.mark.parametrize("room", [1, 0], ids=["a part of the record", "nothing"])
def test_a_record_that_the_disk_has_no_room_for_leaves_the_segment_as_it_was(root: Any, room: int) -> None:
    journal = root / "binance" / ".journal"
    writer = JournalWriter(journal)
    writer.append([(BTC, rows(0))])
    [segment] = segments(journal)
    before = segment.read_bytes()
    with (
        files_of_at_most(len(before) + room),
        pytest.raises(OSError, match="not written whole" if room else "File too large") as refused,
    ):
        writer.append([(BTC, rows(1, 3))])
    if room:
        assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(segment))
    assert segment.read_bytes() == before
    assert minutes_of({BTC: (bits_of(journaled(folder_of(root, "BTCUSDT"), BTC)),)}, BTC) == [0]
    writer.append([(BTC, rows(1))])
    assert journaled(folder_of(root, "BTCUSDT"), BTC).num_rows == 2


@in_a_folder
def test_the_first_record_of_a_segment_that_the_disk_has_no_room_for_leaves_an_empty_one(root: Any) -> None:
    journal = root / "binance" / ".journal"
    writer = JournalWriter(journal)
    with files_of_at_most(1), pytest.raises(OSError, match="not written whole"):
        writer.append([(BTC, rows(0))])
    assert [path.read_bytes() for path in segments(journal)] in ([], [b""])
    writer.append([(BTC, rows(0))])
    assert journaled(folder_of(root, "BTCUSDT"), BTC).num_rows == 1
