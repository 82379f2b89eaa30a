"""The manifest: one entry per chunk, with all that is needed to trust, skip or repair it.

Belongs here: what an entry says and how the manifest is spelled in JSON. Does not belong here: reading, locking and
writing `manifest.json` (`store`). Nothing in it changes from run to run, so equal stores have equal manifests.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.store.chunk import Footer
from market_data_pipeline.core.store.layout import chunk_name

_FORMAT = 1
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
    # Not in the chunk where the archive only said the same as REST: a rebuilt manifest knows nothing of it.
    state: State = field(compare=False)

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

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """As `manifest.json` has it."""
        return {
            "index": dataset.index_of(self.day),
            "day": self.day,
            "file": chunk_name(dataset, self.day),
            "rows": self.rows,
            "expected_rows": self.expected_rows,
            "first_open_time": self.first_open_time,
            "last_open_time": self.last_open_time,
            "complete": self.complete,
            "absences": [absence.to_json() for absence in self.absences],
            "source": self.source,
            "state": self.state.value,
            "bytes": self.size_bytes,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, content: Any) -> "Entry":
        """The inverse of `to_json`."""
        absences = tuple(Absence.from_json(absence) for absence in content["absences"])
        state = content.get("state")  # manifests of before live mode have none
        return cls(
            day=date.fromisoformat(content["day"]).isoformat(),
            rows=content["rows"],
            expected_rows=content["expected_rows"],
            first_open_time=content["first_open_time"],
            last_open_time=content["last_open_time"],
            absences=absences,
            source=content["source"],
            size_bytes=content["bytes"],
            sha256=content["sha256"],
            state=_state_of(content["source"], absences) if state is None else State(state),
        )

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
            state=_state_of(footer.source, footer.absences),
        )


def _state_of(source: str, absences: Iterable[Absence]) -> State:
    """What a chunk says of it by itself."""
    if LIVE in source.split("+") or any(absence.kind is Kind.OPEN for absence in absences):
        return State.PROVISIONAL
    return State.ARCHIVED if source == "archive" else State.CONFIRMED


def to_text(dataset: Dataset, entries: Iterable[Entry]) -> str:
    """`manifest.json` with one line per chunk, by day."""
    head = {"format": _FORMAT, "market": dataset.market.value, "pair": dataset.pair, "tz": dataset.zone.name}
    ordered = sorted(entries, key=lambda entry: entry.day)
    lines = ",\n".join(json.dumps(entry.to_json(dataset), separators=(",", ":")) for entry in ordered)
    return json.dumps(head)[:-1] + ', "chunks": [\n' + lines + "\n]}\n"


def from_text(text: str | bytes) -> Mapping[str, Entry]:
    """The entries of a `manifest.json`, by day.

    Raises:
        ValueError, KeyError, TypeError: the text is damaged or of another format.
    """
    content = json.loads(text)
    if content["format"] != _FORMAT:
        raise ValueError(f"manifest format {content['format']} is not {_FORMAT}")
    entries = (Entry.from_json(chunk) for chunk in content["chunks"])
    return {entry.day: entry for entry in entries}
