"""The manifest: one entry per chunk, with all that is needed to trust, skip or repair it, and its text.

Belongs here: what an entry holds, the text of many and back. Does not belong here: its file (`chunks.manifest_file`),
when it is written, and what may be listed then (`chunks.list_writing`). Nothing in it changes from run to run, so equal
stores have equal manifests.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import Literal

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day, require_storable
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES, MOST_ROWS, Footer
from market_data_pipeline.core.store.layout import chunk_name
from market_data_pipeline.core.store.records import (
    AbsenceRecord,
    FlawsRecord,
    absence_of,
    absence_record,
    flaws_of,
    flaws_records,
)

_MOST_SOURCE = 100
LIVE = "live"
"""In the source of a chunk: some of its klines were read from REST within minutes of closing."""


class State(StrEnum):
    """How sure a day's klines are, from the least to the most.

    `PROVISIONAL`: some were read within minutes of closing, or are still to come. `CONFIRMED`: all were read from REST
    after they had settled. `ARCHIVED`: the archive's files say the same.
    """

    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    ARCHIVED = "archived"

    @classmethod
    def surest(cls, *states: "State") -> "State":
        """The surest of them."""
        return max(states, key=list(cls).index)


@dataclass(frozen=True, slots=True)
class Entry:
    """One chunk, as it was when it was written.

    Index and file name are not kept: they follow from the day and the dataset's start. `sha256` and `size_bytes` are
    those of the file; `first_open_time` and `last_open_time` are ms UTC, None in a day without klines.
    """

    day: str
    rows: int
    expected_rows: int
    first_open_time: int | None
    last_open_time: int | None
    absences: tuple[Absence, ...]
    source: str
    size_bytes: int
    sha256: str
    # Not compared: a chunk from REST that the archive confirmed is `ARCHIVED`, and a rebuilt manifest cannot have that.
    state: State = field(compare=False)
    flaws: tuple[Flaw, ...] = ()

    @property
    def complete(self) -> bool:
        """True if every minute is a kline or has a reason that asking again would not change."""
        return all(absence.kind.is_final for absence in self.absences)

    @property
    def was_read_live(self) -> bool:
        """True if some klines were read from REST within minutes of closing."""
        return LIVE in self.source.split("+")

    @property
    def is_over(self) -> bool:
        """True if no minute of the day is still to come; until then live mode may replace the chunk each minute."""
        return self.minutes_absent(Kind.OPEN) == 0

    def attested(self, *states: State) -> "Entry":
        """The entry in the surest of its state and these."""
        return replace(self, state=State.surest(self.state, *states))

    def minutes_absent(self, kind: Kind) -> int:
        """How many minutes of the day are absent for this reason."""
        return sum(absence.span.minutes for absence in self.absences if absence.kind is kind)

    @classmethod
    def of_chunk(cls, day: Day, klines: pa.Table, footer: Footer, *, size_bytes: int, sha256: str) -> "Entry":
        """The entry of a chunk with these klines and this footer."""
        times = open_times(klines)
        return cls(
            day=day.key,
            rows=klines.num_rows,
            expected_rows=day.minutes,
            first_open_time=int(times[0]) if len(times) else None,
            last_open_time=int(times[-1]) if len(times) else None,
            absences=footer.absences,
            source=footer.source,
            size_bytes=size_bytes,
            sha256=sha256,
            state=_state_by_itself(footer.source, footer.absences),
            flaws=footer.flaws,
        )


@dataclass(slots=True, kw_only=True)
class _EntryRecord:
    index: int
    day: date
    file: str
    rows: int
    expected_rows: int
    first_open_time: int | None
    last_open_time: int | None
    complete: bool
    absences: tuple[AbsenceRecord, ...]
    flaws: tuple[FlawsRecord, ...] = ()
    source: str
    # Manifests that were written before there was live mode have none.
    state: State | None = None
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        require_storable(self.day)
        records.require_sha256(self.sha256)
        if not (0 <= self.rows <= self.expected_rows <= MOST_ROWS and 0 < self.bytes <= MOST_CHUNK_BYTES):
            raise ValueError(f"{self.rows} rows of {self.expected_rows} in {self.bytes} bytes")
        first, last = self.first_open_time, self.last_open_time
        for open_time in (first, last):
            if open_time is not None:
                records.require_minute(open_time)
        is_bounded = first is not None and last is not None and first <= last
        if not (is_bounded if self.rows else first is last is None):
            raise ValueError(f"{self.rows} rows from {first} to {last}")
        if any(after.start_ms < before.end_ms for before, after in pairwise(self.absences)):
            raise ValueError("absences overlap or are not sorted")
        if not self.source or len(self.source) > _MOST_SOURCE:
            raise ValueError(f"source has {len(self.source)} characters")


@dataclass(slots=True)
class _ManifestRecord:
    format: Literal[1]
    chunks: list[_EntryRecord]
    market: str = ""
    pair: str = ""
    tz: str = ""


def to_text(dataset: Dataset, entries: Iterable[Entry]) -> bytes:
    """`manifest.json` with one line per chunk, by day."""
    head = {"format": records.FORMAT, "market": dataset.market.value, "pair": dataset.pair, "tz": dataset.zone.name}
    ordered = sorted(entries, key=lambda entry: entry.day)
    lines = b",\n".join(records.compact(_record_of(dataset, entry)) for entry in ordered)
    return json.dumps(head)[:-1].encode() + b', "chunks": [\n' + lines + b"\n]}\n"


def from_text(text: bytes, dataset: Dataset | None = None) -> Mapping[str, Entry]:
    """The entries of a `manifest.json`, by day.

    Raises:
        ValueError: the text is damaged, of another version, or not of the dataset, if that is given.
    """
    record = records.parse(_ManifestRecord, text)
    if dataset and record.market:
        is_of = (record.market, token_of(record.pair), record.tz)
        if is_of != (dataset.market.value, dataset.token, dataset.zone.name):
            raise ValueError(f"it is of {record.market} {record.pair[:40]} in {record.tz[:40]}")
    entries = {entry.day: entry for entry in map(_entry_of, record.chunks)}
    if len(entries) != len(record.chunks):
        raise ValueError("it lists a day twice")
    return entries


def _record_of(dataset: Dataset, entry: Entry) -> _EntryRecord:
    return _EntryRecord(
        index=dataset.index_of(entry.day),
        day=date.fromisoformat(entry.day),
        file=chunk_name(dataset, entry.day),
        rows=entry.rows,
        expected_rows=entry.expected_rows,
        first_open_time=entry.first_open_time,
        last_open_time=entry.last_open_time,
        complete=entry.complete,
        absences=tuple(map(absence_record, entry.absences)),
        flaws=flaws_records(entry.flaws),
        source=entry.source,
        state=entry.state,
        bytes=entry.size_bytes,
        sha256=entry.sha256,
    )


def _entry_of(record: _EntryRecord) -> Entry:
    absences = tuple(map(absence_of, record.absences))
    return Entry(
        day=record.day.isoformat(),
        rows=record.rows,
        expected_rows=record.expected_rows,
        first_open_time=record.first_open_time,
        last_open_time=record.last_open_time,
        absences=absences,
        source=record.source,
        size_bytes=record.bytes,
        sha256=record.sha256,
        state=_state_by_itself(record.source, absences) if record.state is None else record.state,
        flaws=flaws_of(record.flaws),
    )


def _state_by_itself(source: str, absences: Iterable[Absence]) -> State:
    """The state that follows from the chunk alone."""
    if LIVE in source.split("+") or any(absence.kind is Kind.OPEN for absence in absences):
        return State.PROVISIONAL
    return State.ARCHIVED if source == "archive" else State.CONFIRMED
