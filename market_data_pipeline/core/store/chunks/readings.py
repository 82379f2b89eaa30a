"""When each chunk of a dataset was last read in full and found good: its file `proof.json`.

Belongs here: what the file holds, reading and writing it. Does not belong here: which chunks are read when, and what
good means (`proof.rolling`).

The file vouches for no chunk. It only tells which of them need not be read again tonight: those whose file has the
stamp that it had when it was read, and whose entry has the same sha256. Without the file all of them are read again.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from market_data_pipeline.core.klines.findings import Finding, Severity
from market_data_pipeline.core.store import layout, records
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version

_FORMAT = 1
_MOST_BYTES = 512_000_000
# Enough to tell one chunk from another; the manifest has all of it.
_CHARACTERS = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """One chunk that was read in full and has no error.

    Attributes:
        sha256: the begin of its sha256.
        modified_ns: when its file had been written, ns since 1970.
        at_s: when it was read, s since 1970.
        findings: what may be wrong with it, or is worth knowing.
        mark: that of its version.
    """

    sha256: str
    modified_ns: int
    at_s: int
    findings: tuple[Finding, ...] = ()
    mark: str = ""

    @classmethod
    def of(cls, version: Version, entry: Entry, at_s: float, findings: tuple[Finding, ...]) -> "Reading | None":
        """The reading of a chunk; None if a change that leaves the version as it is may still come after it."""
        if not version.was_settled(at_s):
            return None
        return cls(entry.sha256[:_CHARACTERS], version.modified_ns, int(at_s), findings, version.mark)

    def is_of(self, version: Version, entry: Entry) -> bool:
        """True if the chunk has not been replaced since."""
        now = version.modified_ns, version.size_bytes, version.mark
        return now == (self.modified_ns, entry.size_bytes, self.mark) and entry.sha256.startswith(self.sha256)


@dataclass(frozen=True, slots=True)
class CombinedReading:
    """The combined file when it was last compared with its chunks, kline by kline, and was equal to them."""

    modified_ns: int
    size_bytes: int
    at_s: int
    mark: str = ""

    @classmethod
    def of(cls, version: Version, at_s: float) -> "CombinedReading | None":
        """The reading of a file; None if a change that leaves the version as it is may still come after it."""
        if not version.was_settled(at_s):
            return None
        return cls(version.modified_ns, version.size_bytes, int(at_s), version.mark)

    def is_of(self, version: Version) -> bool:
        """True if the file has not been replaced since."""
        now = version.modified_ns, version.size_bytes, version.mark
        return now == (self.modified_ns, self.size_bytes, self.mark)


@dataclass(frozen=True, slots=True)
class Readings:
    """The readings of a dataset: of its chunks by day, and of its combined file."""

    days: Mapping[str, Reading] = field(default_factory=dict)
    combined: CombinedReading | None = None

    @property
    def oldest_s(self) -> int:
        """When the chunk was read that was read longest ago, s since 1970; 0 if none was."""
        return min((reading.at_s for reading in self.days.values()), default=0)


@dataclass(slots=True)
class _FindingRecord:
    check: str
    problem: str
    severity: Severity


@dataclass(slots=True)
class _DayRecord:
    day: str
    sha256: str
    modified_ns: int
    at_s: int
    findings: tuple[_FindingRecord, ...] = ()
    mark: str = ""


@dataclass(slots=True)
class _Record:
    format: Literal[1]
    days: list[_DayRecord]
    combined: CombinedReading | None = None


def read(folder: StorePath) -> Readings:
    """The readings of the dataset in this folder; none if the file is damaged, or there is none."""
    path = folder / layout.PROOF_FILE
    try:
        record = records.parse(_Record, storage_of(path).read(path, _MOST_BYTES))
    except FileNotFoundError:
        return Readings()
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be used, so all chunks are read again: %s", path, error)
        return Readings()
    return Readings({day.day: _reading_of(day) for day in record.days}, record.combined)


def write(folder: StorePath, readings: Readings) -> None:
    """Replace the readings of the dataset in this folder; the caller holds its lock.

    Raises:
        OSError: the file cannot be written.
    """
    lines = b",\n".join(records.compact(_record_of(day, reading)) for day, reading in sorted(readings.days.items()))
    combined = records.content(readings.combined) if readings.combined else None
    head = json.dumps({"format": _FORMAT, "combined": combined})
    storage_of(folder).write(folder / layout.PROOF_FILE, head[:-1].encode() + b', "days": [\n' + lines + b"\n]}\n")


def _reading_of(record: _DayRecord) -> Reading:
    findings = (Finding(found.check, record.day, found.problem, found.severity) for found in record.findings)
    return Reading(record.sha256, record.modified_ns, record.at_s, tuple(findings), record.mark)


def _record_of(day: str, reading: Reading) -> _DayRecord:
    findings = (_FindingRecord(found.check, found.problem, found.severity) for found in reading.findings)
    return _DayRecord(day, reading.sha256, reading.modified_ns, reading.at_s, tuple(findings), reading.mark)
