"""The snapshots of a market's catalog: one Parquet file for a UTC day.

Belongs here: the file, its columns and its footer, and which one is used where one is damaged. Does not belong here:
what a pair of the catalog is (`core.catalog`), when a snapshot is written (`app`, `defs`).

Equal snapshots give equal bytes. A pair is a row, by symbol; the days of all its lives are in the column `lives`.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from market_data_pipeline.core.catalog.pairs import ListedPair, PairKind, PairStatus, Snapshot, TradedDays
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import require_storable
from market_data_pipeline.core.klines.pair import is_token
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks.encoding import footer_metadata, parse_footer
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text, reason_text

_MOST_BYTES, _MOST_ROWS = 64_000_000, 200_000
_MOST_LIVES, _MOST_CHARACTERS = 1000, 100
_LIFE = pa.struct([pa.field("first", pa.date32()), pa.field("last", pa.date32())])
_SCHEMA = pa.schema(
    [
        pa.field("market", pa.string()),
        pa.field("symbol", pa.string()),
        pa.field("pair", pa.string()),
        pa.field("base", pa.string()),
        pa.field("quote", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("status", pa.string()),
        pa.field("first_day", pa.date32()),
        pa.field("last_day", pa.date32()),
        pa.field("lives", pa.list_(_LIFE)),
        pa.field("delivered_ms", pa.int64()),
        pa.field("files_until", pa.date32()),
    ]
)


@dataclass(slots=True)
class _FooterRecord:
    format: Literal[1]
    market: str
    day: date
    gaps: tuple[str, ...] = ()
    without_archive: bool = False


class CatalogStore:
    """The snapshots of one market under a data root. `warnings` names those that are damaged, one line each."""

    def __init__(self, root: StorePath, market: Market) -> None:
        """Open no file yet."""
        self.folder = layout.catalog_folder(root, market)
        self._files = storage_of(root)
        self.warnings: list[str] = []
        self.market = market

    def days(self) -> list[date]:
        """The UTC days that have a snapshot, in order."""
        return layout.snapshot_days(self.folder)

    def newest(self, until: date = date.max) -> Snapshot | None:
        """The newest snapshot that is not of a later day and not damaged; None if there is none."""
        return next(self.backwards(until), None)

    def backwards(self, until: date = date.max) -> Iterator[Snapshot]:
        """All snapshots that are not of a later day and not damaged, the newest first."""
        for day in reversed(self.days()):
            if day > until:
                continue
            path = layout.snapshot_path(self.folder, day)
            try:
                snapshot = _decode(self._files.read(path, _MOST_BYTES), self.market)
                if snapshot.day != day:
                    raise ValueError(f"it is the catalog of {snapshot.day}")
            except (ValueError, OSError) as error:
                warning = f"{path} is not used: {_reason(error)}; remove it"
                if warning not in self.warnings:
                    self.warnings.append(warning)
            else:
                yield snapshot

    def end_of(self, symbol: str) -> date | None:
        """The last UTC day of a pair that has ended, as the newest snapshot has it; None if it proves no end."""
        newest = self.newest()
        pair = newest.by_symbol().get(symbol) if newest else None
        return pair.last_day if pair and pair.status is PairStatus.ENDED else None

    def write(self, snapshot: Snapshot) -> StorePath:
        """Write the snapshot of its day, and forget what was learned for it; the caller holds the lock."""
        path = layout.snapshot_path(self.folder, snapshot.day)
        self._files.write(path, _encode(snapshot))
        self._files.remove(self.folder / layout.LEARNED_FILE)
        return path

    def learned(self, day: date) -> Mapping[str, ListedPair]:
        """What an interrupted refresh of the day has learned, by symbol; nothing of another day."""
        try:
            found = _decode(self._files.read(self.folder / layout.LEARNED_FILE, _MOST_BYTES), self.market)
        except (ValueError, OSError):
            return {}
        return found.by_symbol() if found.day == day else {}

    def keep_learned(self, day: date, pairs: Iterable[ListedPair]) -> None:
        """Keep what a refresh of the day has learned so far; the caller holds the lock."""
        ordered = tuple(sorted(pairs, key=lambda pair: pair.symbol))
        self._files.write(self.folder / layout.LEARNED_FILE, _encode(Snapshot(self.market, day, ordered)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other process refresh the catalog meanwhile; wait for one that does."""
        self._files.make_folder(self.folder)
        with self._files.lock(self.folder / layout.LOCK_FILE):
            yield


def _encode(snapshot: Snapshot) -> bytes:
    rows = [_row(pair) for pair in snapshot.pairs]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd", store_schema=False, write_page_checksum=True) as writer:
        footer = _FooterRecord(1, snapshot.market.value, snapshot.day, snapshot.gaps, snapshot.without_archive)
        writer.add_key_value_metadata(footer_metadata(footer))
        writer.write_table(table)
    return sink.getvalue()


def _row(pair: ListedPair) -> dict[str, Any]:
    return {
        "market": pair.market.value,
        "symbol": pair.symbol,
        "pair": pair.pair,
        "base": pair.base,
        "quote": pair.quote,
        "kind": pair.kind.value,
        "status": pair.status.value,
        "first_day": pair.first_day,
        "last_day": pair.last_day,
        "lives": [{"first": life.first, "last": life.last} for life in pair.lives],
        "delivered_ms": pair.delivered_ms,
        "files_until": pair.files_until,
    }


def _decode(content: bytes, market: Market) -> Snapshot:
    """The snapshot in a file.

    Raises:
        ValueError: it is no snapshot of the market.
        OSError: pyarrow's own.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True, pre_buffer=False) as file:
            if file.metadata.num_rows > _MOST_ROWS:
                raise ValueError(f"it says that it has {count_text(file.metadata.num_rows, 'row')}")
            footer = parse_footer(_FooterRecord, file.metadata.metadata)
            rows = file.read(columns=_SCHEMA.names, use_threads=False).to_pylist()
        if footer.market != market:
            raise ValueError(f"it is a catalog of {footer.market[:_MOST_CHARACTERS]}")
        pairs = tuple(_pair_of(row, market) for row in rows)
        if len({pair.symbol for pair in pairs}) < len(pairs):
            raise ValueError("it has a symbol twice")
        return Snapshot(market, footer.day, pairs, footer.gaps, footer.without_archive)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, MemoryError, pa.ArrowException) as error:
        raise ValueError(reason_text(error)) from error


def _pair_of(row: Mapping[str, Any], market: Market) -> ListedPair:
    lives = tuple(TradedDays(life["first"], life["last"]) for life in row["lives"])
    pair = ListedPair(
        Market(row["market"]),
        row["pair"],
        row["base"],
        row["quote"],
        PairKind(row["kind"]),
        PairStatus(row["status"]),
        lives,
        row["delivered_ms"],
        row.get("files_until"),  # snapshots of earlier versions have none
    )
    _require_possible(pair.symbol, lives)
    if pair.market is not market or row["symbol"] != pair.symbol or pair.is_trading != (pair.last_day is None):
        raise ValueError(f"{pair.symbol}: values that do not agree")
    return pair


def _require_possible(symbol: str, lives: Sequence[TradedDays]) -> None:
    if not is_token(symbol) or len(symbol) > _MOST_CHARACTERS:
        raise ValueError(f"{symbol[:_MOST_CHARACTERS]!r} is no symbol")
    if not 0 < len(lives) <= _MOST_LIVES or any(life.last is None for life in lives[:-1]):
        raise ValueError(f"{symbol}: lives that are none")
    days = [day for life in lives for day in (life.first, life.last) if day is not None]
    for day in days:
        require_storable(day)
    if sorted(days) != days:
        raise ValueError(f"{symbol}: lives that are not in order")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
