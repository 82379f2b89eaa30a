"""`dataset.json`: reading and writing it.

Belongs here: the file and its record. Does not belong here: what a dataset is (`klines.dataset`), when the file is
written (`dataset_store`).
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from market_data_pipeline.core.errors import StoreError, StoreUnavailable, UsageError
from market_data_pipeline.core.klines.coverage import Span, merge
from market_data_pipeline.core.klines.dataset import Dataset, parse_market
from market_data_pipeline.core.klines.days import iso, parse_instant, parse_zone, require_storable
from market_data_pipeline.core.klines.pair import has_slash, parse_pair
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.layout import DATASET_FILE
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import ANY, Expected, StorePath, Version
from market_data_pipeline.core.text import reason_text, refusal_of_disk

_MOST_BYTES = 4_000_000
_MOST_CHARACTERS = 100


@dataclass(slots=True)
class _Window:
    start: str
    end: str


@dataclass(slots=True)
class _DatasetRecord:
    format: Literal[1]
    market: str
    pair: str
    tz: str
    start: date
    live: bool
    asked: tuple[_Window, ...]
    reused: _Window | None = None
    ended: str | None = None

    def __post_init__(self) -> None:
        require_storable(self.start)
        for name in ("market", "pair", "tz"):
            if len(getattr(self, name)) > _MOST_CHARACTERS:
                raise ValueError(f"{name} is too long")


class DatasetMissing(StoreError):
    """There is no `dataset.json`."""


def read_dataset(path: StorePath) -> Dataset:
    """The dataset that a `dataset.json` describes.

    Raises:
        DatasetMissing: there is no file.
        StoreError: the file is damaged, or of another version of this package.
    """
    return read_dataset_version(path)[0]


def read_dataset_version(path: StorePath) -> tuple[Dataset, Version | None]:
    """As `read_dataset`, with the version of the file, see `Storage.read_version`."""
    try:
        content, version = storage_of(path).read_version(path, _MOST_BYTES)
        return _dataset_of(records.parse(_DatasetRecord, _unique_keys(content))), version
    except FileNotFoundError:
        raise DatasetMissing(f"{path} is missing; restore it, or move its folder away and run backfill again") from None
    except OSError as error:
        if not isinstance(path, Path):
            raise StoreUnavailable(refusal_of_disk(error)) from error
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"{path} cannot be read: {reason}; make it readable for this user") from error
    except records.NewerFormat as error:
        raise StoreError(f"{path} cannot be used: {error}") from error
    except (ValueError, UsageError) as error:
        raise StoreError(
            f"{path} is damaged ({reason_text(error)}); restore it, or move it away and run backfill again"
        ) from error


def _unique_keys(text: bytes) -> bytes:
    """The same text.

    Raises:
        ValueError: an object in it has a key twice, of which either value may be the right one.
    """

    def checked(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError(f"a key is there twice: {', '.join(key for key, _ in pairs)[:200]}")

    with suppress(RecursionError, UnicodeDecodeError):  # what the record refuses, too
        json.loads(text, object_pairs_hook=checked)
    return text


def write_dataset(folder: StorePath, dataset: Dataset, expected: Expected = ANY) -> Version | None:
    """Write `dataset.json` in place of the expected version, and return its own; the caller holds the folder's lock.

    Raises:
        Changed: it is another version.
    """
    content = (json.dumps(records.content(_record_of(dataset)), indent=2) + "\n").encode()
    return storage_of(folder).write(folder / DATASET_FILE, content, expected)


def _record_of(dataset: Dataset) -> _DatasetRecord:
    return _DatasetRecord(
        format=records.FORMAT,
        market=dataset.market.value,
        pair=dataset.pair,
        tz=dataset.zone.name,
        start=dataset.start,
        live=dataset.live,
        asked=tuple(map(_window_of, dataset.requested)),
        reused=_window_of(dataset.reused) if dataset.reused else None,
        ended=None if dataset.ended_ms is None else iso(dataset.ended_ms),
    )


def _dataset_of(record: _DatasetRecord) -> Dataset:
    return Dataset(
        market=parse_market(record.market),
        pair=_pair_of(record),
        zone=parse_zone(record.tz),
        start=record.start,
        live=record.live,
        requested=tuple(merge(map(_span_of, record.asked))),
        reused=_span_of(record.reused) if record.reused else None,
        ended_ms=None if record.ended is None else _minute_of(record.ended),
    )


def _window_of(span: Span) -> _Window:
    return _Window(iso(span.start_ms), iso(span.end_ms))


def _span_of(window: _Window) -> Span:
    span = Span(_instant_of(window.start), _instant_of(window.end))
    records.require_span(span.start_ms, span.end_ms)
    return span


def _minute_of(text: str) -> int:
    instant_ms = _instant_of(text)
    records.require_minute(instant_ms)
    return instant_ms


def _instant_of(text: str) -> int:
    return parse_instant(text, parse_zone("UTC"))


def _pair_of(record: _DatasetRecord) -> str:
    if not has_slash(pair := parse_pair(record.pair)):
        raise UsageError(f"pair: {pair!r} is not BASE/QUOTE")
    return pair
