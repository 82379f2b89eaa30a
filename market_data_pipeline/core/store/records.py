"""The JSON that the store writes, as typed records that pydantic reads and writes.

Belongs here: parsing and writing any record, and the records that several files share. Does not belong here: those of
one file (`manifest`, `dataset_file`, `chunks.encoding`, `combined`, `revisions`), paths.

A record is a dataclass whose fields are the keys on disk, in that order. Parsing is strict: a text where a number
belongs is an error, and so is a missing key; unknown keys are ignored. The bytes that are written must never change, as
footers are part of a chunk's sha256. Importing pydantic takes 0.1 s, so that waits for the first record.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.days import FIRST_DAY, FIRST_MS, LAST_DAY, LAST_MS, MINUTE_MS
from market_data_pipeline.core.klines.flaws import Flaw

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT: Final = 1
"""The version of what the store writes: `dataset.json`, `manifest.json`, the footers of chunks and combined files."""
R = TypeVar("R")
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_DIGITS = 400
_adapters: "dict[type[Any], TypeAdapter[Any]]" = {}


class NewerFormat(ValueError):
    """A later version of this package wrote the file, which is no damage: it must stay as it is."""


@dataclass(slots=True)
class AbsenceRecord:
    """An absence in a manifest or a footer; `evidence` is left out where it is empty."""

    kind: Kind
    start_ms: int
    end_ms: int
    minutes: int
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_span(self.start_ms, self.end_ms)
        if self.minutes != (self.end_ms - self.start_ms) // MINUTE_MS:
            raise ValueError(f"minutes is {self.minutes}, which is not the length of the span")


def absence_record(absence: Absence) -> AbsenceRecord:
    """The record of an absence."""
    span = absence.span
    return AbsenceRecord(absence.kind, span.start_ms, span.end_ms, span.minutes, absence.evidence)


def absence_of(record: AbsenceRecord) -> Absence:
    """The absence that a record describes."""
    return Absence(record.kind, Span(record.start_ms, record.end_ms), record.evidence)


@dataclass(slots=True)
class FlawsRecord:
    """The flaws of one rule that the same sources have, in a manifest or a footer.

    Values are texts, as Python spells them: another spelling of the same number would be another sha256.
    """

    rule: str
    sources: tuple[str, ...]
    open_times: tuple[int, ...]
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        for open_time in self.open_times:
            require_minute(open_time)


def flaws_records(flaws: Iterable[Flaw]) -> tuple[FlawsRecord, ...]:
    """The records of flaws."""
    ordered = sorted(flaws, key=lambda flaw: (flaw.rule, flaw.sources, flaw.open_time))
    records = []
    for (rule, sources), grouped in groupby(ordered, key=lambda flaw: (flaw.rule, flaw.sources)):
        group = list(grouped)
        times, values = tuple(flaw.open_time for flaw in group), tuple(repr(flaw.value) for flaw in group)
        records.append(FlawsRecord(rule, sources, times, values))
    return tuple(records)


def flaws_of(records: Iterable[FlawsRecord]) -> tuple[Flaw, ...]:
    """The flaws that records describe, by time.

    Raises:
        ValueError: a value is no number, or there are more or fewer values than times.
    """
    flaws = []
    for record in records:
        for open_time, text in zip(record.open_times, record.values, strict=True):
            if len(text) > _MOST_DIGITS:
                raise ValueError(f"a value has {len(text)} characters")
            value = int(text) if text.removeprefix("-").isdecimal() else float(text)
            flaws.append(Flaw(open_time, record.rule, value, record.sources))
    return tuple(sorted(flaws, key=lambda flaw: (flaw.open_time, flaw.rule)))


def require_minute(instant_ms: int) -> None:
    """Refuse what is no whole minute, or lies in a year that no dataset can have.

    Raises:
        ValueError: it is such an instant.
    """
    if instant_ms % MINUTE_MS or not FIRST_MS <= instant_ms <= LAST_MS:
        raise ValueError(f"{instant_ms} is no minute between {FIRST_DAY} and {LAST_DAY}")


def require_span(start_ms: int, end_ms: int) -> None:
    """Refuse a span that is no span of minutes.

    Raises:
        ValueError: an end is no minute, or the span is empty or ends before it starts.
    """
    require_minute(start_ms)
    require_minute(end_ms)
    if end_ms <= start_ms:
        raise ValueError(f"the end {end_ms} is not after the start {start_ms}")


def require_sha256(text: str) -> None:
    """Refuse what is no sha256 as manifests hold it.

    Raises:
        ValueError: it is none.
    """
    if not _SHA256.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no sha256")


def parse(record: type[R], text: str | bytes) -> R:
    """The record that a JSON text holds.

    Raises:
        NewerFormat: it is of a later format.
        ValueError: it is not JSON, or not such a record; one line that names the first wrong value.
    """
    from pydantic import ValidationError

    try:
        parsed: R = _adapter(record).validate_json(text, strict=True)
    except ValidationError as error:
        if _is_newer(text):
            raise NewerFormat("a newer version of market-data wrote it; update market-data") from None
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{place}: {problem['msg']}" if place else problem["msg"]) from None
    return parsed


def _is_newer(text: str | bytes) -> bool:
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT
    return False


def content(record: Any) -> dict[str, Any]:
    """The record as a dictionary for `json.dumps`; values that equal their default are left out."""
    as_dictionary: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json", exclude_defaults=True)
    return as_dictionary


def compact(record: Any) -> bytes:
    """`json.dumps(content(record), separators=(",", ":"))`, faster. Not for floats, which pydantic spells otherwise."""
    text: bytes = _adapter(type(record)).dump_json(record, exclude_defaults=True, ensure_ascii=True)
    # The only character that json.dumps escapes and pydantic does not.
    return text.replace(b"\x7f", b"\\u007f")


def _adapter(record: type[Any]) -> "TypeAdapter[Any]":
    adapter = _adapters.get(record)
    if adapter is None:
        from pydantic import TypeAdapter

        adapter = _adapters[record] = TypeAdapter(record)
    return adapter
