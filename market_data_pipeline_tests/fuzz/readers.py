"""The readers of bytes, a good body for each, and what is allowed with a bad one.

Belongs here: for each reader, the errors that it documents, and what tells a true row from a false one without it.
Does not belong here: how bodies are damaged (`damage`).

Where a body has a checksum, what is read must be what was written. Where it has none, what is read must be what
Python's own `json` and `float` have of it.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_of, parse_zone
from market_data_pipeline.core.klines.parsing import Parsed, from_csv, from_json
from market_data_pipeline.core.klines.table import FIELDS, INTEGER_FIELDS, Bits, bits_of
from market_data_pipeline.core.sources.archive.unpack import BadZip, unpack
from market_data_pipeline.core.sources.rest import answers
from market_data_pipeline.core.store import revisions
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.encoding import Footer, decode, encode
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.dataset_file import read_dataset, write_dataset
from market_data_pipeline.core.store.journal.segments import Owner, record, rows_of
from market_data_pipeline.core.store.layout import DATASET_FILE, REVISIONS_FILE
from market_data_pipeline.core.store.manifest import Entry, from_text, to_text
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline_tests.core.fakes import changed, klines_of, span

_ZONE = parse_zone("UTC")
DATASET = Dataset(Market.SPOT, "BTC/USDT", _ZONE, date(2024, 3, 1), (span("2024-03-01T00:00Z", "2024-03-03T00:00Z"),))
DAY = day_of(_ZONE, date(2024, 3, 1))
# What Python's float() takes and no exchange writes.
_NO_DECIMAL = set("_ \t\n\r\f\v")


@dataclass(frozen=True)
class Reader:
    """A reader of bytes.

    Attributes:
        name: what it reads.
        share: of all bodies, so many thousandths are for it.
        seeds: good bodies.
        read: reads a body.
        check: fails if what was read of a body is not in it.
        refuses: the errors by which the reader says that a body is bad.
    """

    name: str
    share: int
    seeds: Sequence[bytes]
    read: Callable[[bytes], Any]
    check: Callable[[bytes, Any], None]
    refuses: tuple[type[Exception], ...] = (ValueError,)

    def takes(self, body: bytes) -> bool:
        """Whether the body was read; fails if something is read that is not in it."""
        try:
            found = self.read(body)
        except self.refuses:
            return False
        self.check(body, found)
        return True


def readers(folder: Path) -> list[Reader]:
    """All of them; those of files use the folder."""
    pages = [_page(2), _page(5), _page(40)]
    lines = [_lines(3), _lines(60)]
    dataset, ledger = folder / DATASET_FILE, folder / REVISIONS_FILE
    return [
        Reader("a short page of REST", 330, pages[:2], from_json, _check_page),
        Reader("a long page of REST", 100, pages[2:], from_json, _check_page),
        Reader("answers of REST", 150, _ANSWERS, _read_answers, _check_answers),
        Reader("a CSV file of the archive", 160, lines, from_csv, _check_lines),
        Reader("a zip of the archive", 60, [_zip(each) for each in lines], unpack, _check_zip, (BadZip,)),
        Reader("a manifest", 60, [_MANIFEST], partial(from_text, dataset=DATASET), _check_manifest),
        Reader("a chunk and its footer", 40, [_CHUNK], decode, _check_chunk, (ValueError, OSError)),
        Reader("a journal", 60, [_JOURNAL], rows_of, _check_journal),
        Reader(
            "dataset.json",
            20,
            [_dataset(dataset)],
            partial(_of_file, dataset, read_dataset),
            _check_dataset,
            (StoreError,),
        ),
        Reader(
            "revisions.jsonl",
            20,
            [_ledger(ledger)],
            partial(_of_file, ledger, lambda _: revisions.read(folder)),
            _check_ledger,
            (StoreError,),
        ),
    ]


def _of_file(path: Path, read: Callable[[Path], Any], body: bytes) -> Any:
    path.write_bytes(body)
    return read(path)


# --- klines as the exchange sends them


def _rows(count: int) -> list[list[Any]]:
    table = klines_of(Span(DAY.start_ms, DAY.start_ms + count * MINUTE_MS))
    columns = [table.column(name).to_pylist() for name in FIELDS]
    of_row = zip(*columns, strict=True)
    return [
        [value if name in INTEGER_FIELDS else f"{value:.8f}" for name, value in zip(FIELDS, row, strict=True)]
        for row in of_row
    ]


def _page(count: int) -> bytes:
    return json.dumps(_rows(count), separators=(",", ":")).encode()


def _lines(count: int) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in _rows(count)).encode()


def _zip(lines: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("BTCUSDT-1m-2024-03-01.csv", lines)
    return packed.getvalue()


def _check_page(body: bytes, found: Parsed) -> None:
    # Needless zeros, which JSON has not, are as good as in the archive's CSV.
    _require_rows(found, json.loads(re.sub(rb"(?<=[\[,])0+(?=\d)", b"", body)))


def _check_lines(body: bytes, found: Parsed) -> None:
    texts = body.decode("ascii", "backslashreplace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    _require_rows(found, [list(map(_whole, enumerate(text.split(",")))) for text in texts])


def _whole(field: tuple[int, str]) -> Any:
    at, text = field
    is_whole = FIELDS[at % len(FIELDS)] in INTEGER_FIELDS and text.removeprefix("-").isdigit() and text.isascii()
    return int(text) if is_whole and len(text) < 30 else text


def _require_rows(parsed: Parsed, rows: Any) -> None:
    """Every row is a kline with the values of the text, or one that is told to be none."""
    assert all(len(row) == len(FIELDS) for row in rows)
    good = [row for row in rows if all(map(_is_number, FIELDS, row))]
    assert len(parsed.unreadable) == len(rows) - len(good), "a row is neither a kline nor told to be none"
    assert parsed.klines.num_rows == len(good)
    for name, values in zip(FIELDS, zip(*good, strict=True), strict=False):
        kind = np.int64 if name in INTEGER_FIELDS else np.float64
        meant = np.array([int(value) if kind is np.int64 else float(value) for value in values], kind)
        assert np.array_equal(meant.view(np.int64), parsed.klines.column(name).to_numpy().view(np.int64)), name


def _is_number(name: str, value: Any) -> bool:
    if name in INTEGER_FIELDS:
        return type(value) is int and abs(value) < 1 << 63
    if not isinstance(value, str) or not value.isascii() or _NO_DECIMAL & set(value) or value[:1] == "+":
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _check_zip(body: bytes, found: Parsed) -> None:
    meant = klines_of(Span(DAY.start_ms, DAY.start_ms + found.klines.num_rows * MINUTE_MS))
    assert found.klines.num_rows in {3, 60}
    assert not found.unreadable
    assert found.klines.column("open_time") == meant.column("open_time")
    assert found.klines.column("trades") == meant.column("trades")


# --- other answers

_INFO = {
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "deliveryDate": 4133404800000,
        },
        {
            "symbol": "ETHUSDT",
            "status": "BREAK",
            "contractType": "PERPETUAL",
            "onboardDate": 1569398400000,
            "filters": [{}],
        },
    ]
}
_ANSWERS = [
    b'{"serverTime":1709251200000}',
    json.dumps(_INFO).encode(),
    b'[[1709251200000,"1.0"]]',
    b'{"code":-1121,"msg":"Invalid symbol."}',
]


def _read_answers(body: bytes) -> dict[str, Any]:
    """What each of the readers says of the body, whatever it is an answer of."""
    found = dict[str, Any]()
    for name, read in _OF_ANSWERS.items():
        with suppress(ValueError):
            found[name] = read(body)
    if not found:
        raise ValueError("none of them reads it")
    return found


_OF_ANSWERS: dict[str, Callable[[bytes], Any]] = {
    "time": answers.server_time_ms,
    "open time": answers.only_open_time_ms,
    "listings": answers.market_listings,
    "listing": partial(answers.listing, token="BTCUSDT"),
    "error": answers.exchange_error,
}


def _check_answers(body: bytes, found: dict[str, Any]) -> None:
    """Times are those that the text has, and an error is one line."""
    if "time" in found:
        assert found["time"] == _loose(body)["serverTime"]
    if found.get("open time") is not None:
        assert found["open time"] == _loose(body)[0][0]
    if found.get("listing"):
        assert found["listing"].symbol == "BTCUSDT"
    if found.get("error"):
        assert found["error"].code == _loose(body)["code"]
        assert "\n" not in found["error"].text


def _loose(body: bytes) -> Any:
    """The document, with texts that nobody asked for as they are."""
    return json.loads(body.decode("utf-8", "replace"), strict=False)


# --- files of the store

_KLINES = klines_of(Span(DAY.start_ms, DAY.start_ms + 60 * MINUTE_MS))
_ABSENCES = (Absence(Kind.OPEN, Span(DAY.start_ms + 60 * MINUTE_MS, DAY.end_ms)),)
_FOOTER = Footer("spot", "BTC/USDT", "UTC", DAY.key, "rest", _ABSENCES)
_CHUNK = encode(_KLINES, _FOOTER)
_ENTRY = Entry.of_chunk(DAY, _KLINES, _FOOTER, size_bytes=len(_CHUNK), sha256="ab" * 32)
_MANIFEST = to_text(DATASET, [_ENTRY])
_OWNERS = (Owner("BTC/USDT", "UTC"), Owner("ETH/USDT", "Asia/Kathmandu"))
_PIECES = [bits_of(_KLINES.slice(start, rows)) for start, rows in ((0, 1), (1, 3), (4, 1))]
_JOURNAL = b"".join(record([(owner, piece) for owner in _OWNERS]) for piece in _PIECES)


def _check_manifest(body: bytes, found: Mapping[str, Entry]) -> None:
    assert from_text(to_text(DATASET, found.values()), DATASET) == found


def _check_chunk(body: bytes, found: tuple[pa.Table, Footer]) -> None:
    klines, footer = found
    assert klines.replace_schema_metadata(None) == _KLINES.replace_schema_metadata(None), "false klines"
    assert all(absence.span.start_ms < absence.span.end_ms for absence in footer.absences)


def _check_journal(body: bytes, found: dict[Owner, tuple[Bits, ...]]) -> None:
    for owner, pieces in found.items():
        assert owner in _OWNERS
        assert all(any(np.array_equal(piece, written) for written in _PIECES) for piece in pieces), "false rows"


def _dataset(path: Path) -> bytes:
    write_dataset(path.parent, DATASET, None)
    return path.read_bytes()


def _check_dataset(body: bytes, found: Dataset) -> None:
    assert found.start.isoformat() == json.loads(body)["start"]
    assert all(span.start_ms < span.end_ms for span in found.requested)


def _ledger(path: Path) -> bytes:
    """The ledger of two revisions, as the store writes it."""
    for row in (1, 2):
        revisions.note(path.parent, _chunk(_KLINES), _chunk(changed(_KLINES, "close", row, 20_000.5)))
    return path.read_bytes()


def _chunk(klines: pa.Table) -> Chunk:
    sha256 = sha256_of(encode(klines, _FOOTER))
    return Chunk(Entry.of_chunk(DAY, klines, _FOOTER, size_bytes=1, sha256=sha256), klines, _FOOTER)


def _check_ledger(body: bytes, found: list[Revision]) -> None:
    for revision in found:
        assert revision.minutes
        assert set(revision.fields) <= set(FIELDS)
        assert revision.day.encode() in body
