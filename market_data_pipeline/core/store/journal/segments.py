"""Segments of the journal: records of klines of several datasets, one after the other, and reading them.

Belongs here: the format, reading all segments of a market for one dataset. Does not belong here: writing (`writing`).

A record is `KJ01`, the length and the CRC-32 of what follows, then a list of datasets with their numbers of rows, then
the rows: twelve little-endian numbers of 8 bytes each. What does not end with a whole record was cut by a power cut or
a kill: the reader ends there, as if nothing had been appended. The process had not reported it as stored.
"""

import json
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import StoreError, StoreUnavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.core.klines.table import EMPTY, FIELDS, Bits, of_bits
from market_data_pipeline.core.store.layout import JOURNAL_SUFFIX, journal_folder
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import P, StorePath, Version
from market_data_pipeline.core.text import reason_text, refusal_of_disk

MOST_SEGMENT_BYTES = 256_000_000
"""Far more than a segment of all pairs of a market grows to before the next one begins."""
_MAGIC = b"KJ01"
_RECORD, _LIST = struct.Struct("<4sII"), struct.Struct("<I")
_ROW_BYTES = 8 * len(FIELDS)


class Owner(NamedTuple):
    """Whose klines they are, beside the market, which is the folder's."""

    pair: str
    zone: str

    @classmethod
    def of(cls, dataset: Dataset) -> "Owner":
        """The dataset as the journal names it."""
        return cls(dataset.pair, dataset.zone.name)


@dataclass(frozen=True, slots=True)
class Segment:
    """The content of a segment.

    `rows` has by dataset what each record has of it, in the order of the records; `newest` has by token the open time
    of the newest kline, ms UTC.
    """

    rows: Mapping[Owner, tuple[Bits, ...]]
    newest: Mapping[str, int]


_NOTHING = Segment({}, {})
# What was read last of each segment, by its folder. A bucket has a segment for each append, so up to fifteen of each
# process that writes. In a folder one grows, and its older versions would take the memory of many.
_MOST_KEPT = 64
_kept: dict[StorePath, dict[StorePath, tuple[Version, Segment]]] = {}
_keeping = threading.Lock()


def record(klines: Iterable[tuple[Owner, Bits]]) -> bytes:
    """The bytes of one record."""
    klines = list(klines)
    named = json.dumps([[*owner, len(rows)] for owner, rows in klines], separators=(",", ":")).encode()
    rows = b"".join(rows.astype("<i8", copy=False).tobytes() for _, rows in klines)
    payload = _LIST.pack(len(named)) + named + rows
    return _RECORD.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


def rows_of(content: bytes) -> dict[Owner, tuple[Bits, ...]]:
    """The rows of all whole records of a segment, up to the first that is none."""
    found: dict[Owner, list[Bits]] = {}
    at = 0
    while at + _RECORD.size <= len(content):
        magic, length, checksum = _RECORD.unpack_from(content, at)
        payload = content[at + _RECORD.size : at + _RECORD.size + length]
        if magic != _MAGIC or len(payload) < length or zlib.crc32(payload) != checksum:
            break
        try:
            of_record = _rows_of_record(payload)
        except (ValueError, TypeError, struct.error, RecursionError):
            break
        for owner, rows in of_record:
            found.setdefault(owner, []).append(rows)
        at += _RECORD.size + length
    return {owner: tuple(rows) for owner, rows in found.items()}


def _rows_of_record(payload: bytes) -> list[tuple[Owner, Bits]]:
    (length,) = _LIST.unpack_from(payload)
    at, found = _LIST.size + length, list[tuple[Owner, Bits]]()
    for pair, zone, count in json.loads(payload[_LIST.size : at]):
        if count <= 0:
            raise ValueError("a dataset without rows")
        values = np.frombuffer(payload, "<i8", count * len(FIELDS), at).astype(np.int64, copy=False)
        found.append((Owner(str(pair), str(zone)), values.reshape(count, len(FIELDS))))
        at += count * _ROW_BYTES
    return found


def segments(folder: P) -> list[P]:
    """The segments in the folder of a journal, by the time at which they were begun; empty if there is no folder."""
    return [folder / name for name in storage_of(folder).names(folder) if name.endswith(JOURNAL_SUFFIX)]


def read_segment(path: StorePath) -> Segment:
    """The rows of a segment; none if it is gone, as then all of them are in chunks.

    Raises:
        StoreUnavailable: the disk or the object store lets nobody read it now.
        StoreError: it is no segment.
    """
    try:
        version = storage_of(path).version(path)
        return _NOTHING if version is None else _read(path, version)
    except FileNotFoundError:
        return _NOTHING
    except OSError as error:
        raise StoreUnavailable(refusal_of_disk(error)) from error
    except ValueError as error:
        what = f"the journal {path} cannot be read: {reason_text(error)}"
        raise StoreError(f"{what}; move it away, a load gets what it had") from error


def _read(path: StorePath, version: Version) -> Segment:
    """As `read_segment`. All readers of a market need the same few segments, which change once a minute."""
    with _keeping:
        known = _kept.setdefault(path.parent, {}).get(path)
    if known and known[0] == version:
        return known[1]
    rows = rows_of(storage_of(path).read(path, MOST_SEGMENT_BYTES))
    newest = {token_of(owner.pair): max(int(piece[:, 0].max()) for piece in pieces) for owner, pieces in rows.items()}
    segment = Segment(rows, newest)
    with _keeping:
        kept = _kept[path.parent]
        kept.pop(path, None)
        kept[path] = version, segment
        if len(kept) > _MOST_KEPT:
            del kept[next(iter(kept))]
    return segment


def _present(folder: P) -> list[P]:
    """As `segments`; what was read of those that are gone is forgotten."""
    found = segments(folder)
    with _keeping:
        kept = _kept.get(folder, {})
        if len(kept) > len(found):
            for path in kept.keys() - set(found):
                del kept[path]
    return found


def journaled(folder: StorePath, owner: Owner) -> pa.Table:
    """What the journal has of the dataset in this folder, by time; often nothing.

    Who wants the chunk, too, reads it afterwards: klines leave the journal only after the chunk has them.

    Raises:
        StoreError: a segment cannot be read.
    """
    pieces = [rows for path in _present(journal_folder(folder)) for rows in read_segment(path).rows.get(owner, ())]
    return by_time(pieces)


def last_journaled_ms(folder: StorePath) -> int | None:
    """Open time of the newest kline that the journal has of the dataset in this folder, ms UTC; None for none.

    Raises:
        StoreError: a segment cannot be read.
    """
    token = folder.parent.name
    times = [read_segment(path).newest.get(token, 0) for path in _present(journal_folder(folder))]
    return max(times, default=0) or None


def newest_journaled(journal: StorePath) -> dict[str, int]:
    """As `last_journaled_ms`, of all datasets that this journal of a market has klines of, by token.

    Raises:
        StoreError: a segment cannot be read.
    """
    newest = dict[str, int]()
    for path in _present(journal):
        for token, open_ms in read_segment(path).newest.items():
            newest[token] = max(open_ms, newest.get(token, 0))
    return newest


def by_time(pieces: Iterable[Bits]) -> pa.Table:
    """The rows as klines by time; of several of one minute the last one."""
    found = list(pieces)
    if not found:
        return EMPTY
    rows = np.concatenate(found)
    order = np.argsort(rows[:, 0], kind="stable")
    rows = rows[order]
    return of_bits(rows[np.append(np.diff(rows[:, 0]) != 0, True)])
