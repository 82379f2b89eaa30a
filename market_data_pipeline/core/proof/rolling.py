"""The proof of a night: new chunks are read in full, the others in turns, so that none waits longer than some days.

Belongs here: which chunks are read tonight, the end of the night's time, and noting what was read. Does not belong
here: what is wrong with a chunk (`looks`, `verify`), the file of notes (`store.chunks.readings`), many datasets
(`bulk.prove`).

For all other chunks of the dataset the result counts what the manifest lists, and repeats what was found when they were
read last. Their files are there and have the listed size and the time that they had then, or they are read as well.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from zlib import crc32

from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.klines.findings import MATCHES_MANIFEST, PLAUSIBLE, Finding, Severity
from market_data_pipeline.core.proof.combined import Agreement, CombinedProof, combined_agreement
from market_data_pipeline.core.proof.looks import days_of, look_at_entry, looks
from market_data_pipeline.core.proof.verify import DAYS_TOGETHER, Verification, note_looks
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.chunks import readings
from market_data_pipeline.core.store.chunks.readings import CombinedReading, Reading, Readings
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import Version
from market_data_pipeline.core.text import count_text

DAY_S = 86_400.0
# Nights do not reach a dataset at the same hour.
_EARLY_S = DAY_S / 2
# The rest is for chunks that are new: they are few on most nights, and those of datasets that come last count as much.
_SHARE_OF_TURNS = 0.75
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turns:
    """How often a chunk is read in full, and how long a night may take.

    Attributes:
        within_days: every chunk is read again within so many days.
        most_s: nothing more is read after so many seconds.
        clock: the time, s since 1970; picklable, as other processes get it.
    """

    within_days: int = 7
    most_s: float = 4 * 3600
    clock: Callable[[], float] = time.time

    def begin(self, *, whole: bool = False) -> "Night":
        """A night that begins now; with `whole` all chunks are read, however long that takes."""
        return Night(self, self.clock(), whole)


@dataclass(frozen=True, slots=True)
class Night:
    """A night that has begun."""

    turns: Turns
    began_s: float
    whole: bool

    def has_time(self, share: float = 1.0) -> bool:
        """True until this share of the night's time is over."""
        return self.whole or self.turns.clock() < self.began_s + share * self.turns.most_s

    def is_due(self, read_s: float, now_s: float) -> bool:
        """True if what was read then would be too old before the night after this one.

        Also of what was read in the future: the clock was wrong then, and nobody knows when that was.
        """
        return self.whole or not 0 <= now_s - read_s < self.turns.within_days * DAY_S - _EARLY_S

    def is_turn_of(self, name: str) -> bool:
        """True on one night of each round, another one for each name."""
        return (crc32(name.encode()) + int(self.began_s // DAY_S)) % self.turns.within_days == 0


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a night has proved of a dataset.

    Attributes:
        verification: as of a whole proof.
        combined: how the combined file stands to its chunks; None if there was no time to compare them.
        read: chunks that were read in full.
        not_reached: chunks whose turn it was, and for which there was no time.
    """

    verification: Verification
    combined: CombinedProof | None
    read: int
    not_reached: int


@dataclass(slots=True)
class _Plan:
    """Which days are read: those that look odd always, the new ones first of the others, then those whose turn it is.

    `last_s` is when a chunk was last known to be good: when it was read, or written.
    """

    odd: list[Day] = field(default_factory=list)
    new: deque[Day] = field(default_factory=deque)
    due: deque[Day] = field(default_factory=deque)
    kept: list[Day] = field(default_factory=list)
    last_s: dict[Day, float] = field(default_factory=dict)

    def next(self, night: Night) -> list[Day]:
        """The days to read together next; none if all are read, or the time is over."""
        together: list[Day] = []
        for waiting, share in ((self.new, 1.0), (self.due, _SHARE_OF_TURNS)):
            if waiting and night.has_time(share):
                together += [waiting.popleft() for _ in range(min(len(waiting), DAYS_TOGETHER - len(together)))]
        return sorted(together, key=lambda day: day.start_ms)


def roll(store: DatasetStore, night: Night) -> Rolled:
    """Prove a dataset: read what is new or odd, and what has its turn, as far as there is time.

    Nothing is changed but `proof.json`, which notes what was read and is good.
    """
    known, now_s = readings.read(store.folder), night.turns.clock()
    result, plan = Verification(store.dataset), _planned(store, known, night, now_s)
    _read(store, plan.odd, result)
    while together := plan.next(night):
        _read(store, together, result)
    unread = [*plan.new, *plan.due]
    entries = ((day, store.entries.get(day.key)) for day in (*plan.kept, *unread))
    note_looks(store, (look_at_entry(store, day, entry) for day, entry in entries if entry), result)
    for day in (*plan.kept, *plan.due):
        if day.key not in result.read:
            result.findings += known.days[day.key].findings
    result.findings.sort(key=lambda finding: finding.day)
    note(store, result, now_s)
    result.note_awaited()
    _note_late(result, [(day, plan.last_s[day]) for day in unread], night, now_s)
    read = len(result.read)
    result.read.clear()  # the result may go to another process, which has no use for that
    return Rolled(result, _combined(store, night, known.combined, now_s), read, len(unread))


def _planned(store: DatasetStore, known: Readings, night: Night, now_s: float) -> _Plan:
    plan, kept = _Plan(), list[tuple[int, Day]]()
    days = days_of(store, None)
    for day, version in zip(days, store.versions(days), strict=True):
        entry = store.entries.get(day.key)
        if entry is None or version is None or version.size_bytes != entry.size_bytes:
            plan.odd.append(day)
            continue
        reading = known.days.get(day.key)
        if reading is not None and reading.is_of(version, entry):
            plan.last_s[day] = reading.at_s
            kept.append((reading.at_s, day))
        else:
            plan.last_s[day] = version.modified_ns / 1e9
            plan.new.append(day)
    kept.sort(key=lambda read: (read[0], read[1].key))
    turns = math.ceil(len(store.entries) / night.turns.within_days)
    for number, (at_s, day) in enumerate(kept):
        (plan.due if number < turns or night.is_due(at_s, now_s) else plan.kept).append(day)
    return plan


def _read(store: DatasetStore, days: Iterable[Day], result: Verification) -> None:
    """Read these days in full, and add them to the verification."""
    with looks(store, days) as found:
        note_looks(store, found, result)


def note(store: DatasetStore, result: Verification, at_s: float) -> None:
    """Note which chunks were read and are good, and forget those that are not."""
    wrong = {finding.day for finding in result.errors}
    found: dict[str, tuple[Finding, ...]] = {}
    for finding in result.of(PLAUSIBLE):
        found[finding.day] = (*found.get(finding.day, ()), finding)
    fresh = {
        day: None if day in wrong else Reading.of(version, entry, at_s, found.get(day, ()))
        for day, (version, entry) in result.read.items()
    }
    _change(store, fresh | dict.fromkeys(wrong))


def _note_late(result: Verification, unread: list[tuple[Day, float]], night: Night, now_s: float) -> None:
    """Warn of chunks that nobody has read for too long. They were good when they were written, or read last."""
    most_days = night.turns.within_days
    late = sorted(day.key for day, last_s in unread if now_s - last_s > most_days * DAY_S)
    if late:
        what = f"{count_text(len(late), 'chunk')} not read in full for {count_text(most_days, 'day')}"
        why = "a night ends before all are read, see MARKET_DATA_PROOF_HOURS"
        result.findings.append(Finding(MATCHES_MANIFEST, late[0], f"{what}: {why}", Severity.WARNING))


def _combined(store: DatasetStore, night: Night, known: CombinedReading | None, now_s: float) -> CombinedProof | None:
    """How the combined file stands to its chunks. If it is as it was, its klines are compared once in a round."""
    compared: Version | None = None
    lacked_time = False

    def is_known(version: Version) -> bool:
        nonlocal compared, lacked_time
        is_same = known is not None and known.is_of(version)
        if known and is_same and not night.is_due(known.at_s, now_s) and not night.is_turn_of(store.dataset.name):
            return True
        lacked_time = not night.has_time()
        compared = None if lacked_time else version
        return lacked_time

    found = combined_agreement(store, is_known)
    if found.agreement is not Agreement.EQUAL:
        _change(store, {}, None)
    elif lacked_time:
        return None
    elif compared:
        _change(store, {}, CombinedReading.of(compared, now_s))
    return found


def forget_combined(store: DatasetStore) -> None:
    """Note that the combined file has to be compared with its chunks again."""
    _change(store, {}, None)


def _change(
    store: DatasetStore, fresh: dict[str, Reading | None], combined: CombinedReading | bool | None = True
) -> None:
    """Note these readings of days, and that of the combined file unless it is True. A folder may refuse it."""
    path = store.folder / layout.PROOF_FILE
    if not storage_of(path).exists(path) and not any(fresh.values()) and not combined:
        return
    try:
        with store.undisturbed():
            known = readings.read(store.folder)
            days = {day: reading for day, reading in known.days.items() if day in store.entries}
            for day, reading in fresh.items():
                days.pop(day, None)
                if reading is not None:
                    days[day] = reading
            noted = Readings(days, known.combined if isinstance(combined, bool) else combined)
            if noted != known:
                readings.write(store.folder, noted)
    except OSError as error:
        _log.warning("%s: what was read is not noted, and is read again: %s", store.dataset.name, error)
