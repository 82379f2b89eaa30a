"""Revisions: the exchange now gives other values for minutes whose klines are already stored.

Belongs here: how a chunk differs from the one that it replaces, and `revisions.jsonl`, the ledger of these differences.
Does not belong here: whether a chunk may be replaced, and the lock (`chunks.publishing`); showing revisions.
A minute that only one of two chunks has is not revised: a day has grown, or a gap was filled.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Span, merge, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, iso, parse_instant, parse_zone, require_storable
from market_data_pipeline.core.klines.flaws import attested
from market_data_pipeline.core.klines.table import FIELDS, common_minutes
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.encoding import encode
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.layout import REVISIONS_FILE
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, again_if_changed
from market_data_pipeline.core.text import count_text

_MOST_EXAMPLES = 20
_LAST_LINES_BYTES = 200_000
_MOST_BYTES = 1_000_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One value of one minute, as it was and as it is now; `open_time` is ms UTC."""

    open_time: int
    field: str
    old: int | float
    new: int | float


@dataclass(frozen=True, slots=True)
class Revision:
    """The values that differ between the chunk of a day and the one that replaced it, in minutes that both have.

    `at` is when that was noticed, ISO UTC. `minutes` are those with a differing value, `fields` the names of the fields
    that differ in any of them, `examples` the first differing values, at most 20. The fields are the keys on disk.
    """

    day: str
    at: str
    old_sha256: str
    new_sha256: str
    old_source: str
    new_source: str
    minutes: tuple[Span, ...]
    fields: tuple[str, ...]
    examples: tuple[Change, ...]


def note(folder: StorePath, old: Chunk, new: Chunk) -> Revision | None:
    """Append the revision between the chunks to the ledger, if there is one, and return it."""
    if revision := revision_between(old, new):
        append(folder, revision)
    return revision


def say(dataset: Dataset, revision: Revision) -> None:
    """Log that the chunk was replaced."""
    minutes, fields = total_minutes(revision.minutes), ", ".join(revision.fields)
    _log.warning("%s %s revised: %s of %s", dataset.name, revision.day, fields, count_text(minutes, "minute"))


def revision_between(old: Chunk, new: Chunk) -> Revision | None:
    """The revision between two chunks of one day; None if no minute that both have differs."""
    common, pairs, differs = common_minutes(old.klines, new.klines)
    if not differs.any():
        return None
    revised = common[np.flatnonzero(differs.any(axis=1))].tolist()
    examples = np.argwhere(differs)[:_MOST_EXAMPLES].tolist()
    return Revision(
        day=new.entry.day,
        at=iso(round(time.time() * 1000)),
        old_sha256=old.entry.sha256,
        new_sha256=new.entry.sha256,
        old_source=old.footer.source,
        new_source=new.footer.source,
        minutes=tuple(merge(Span(minute, minute + MINUTE_MS) for minute in revised)),
        fields=tuple(FIELDS[which] for which in np.flatnonzero(differs.any(axis=0)).tolist()),
        examples=tuple(
            Change(int(common[row]), FIELDS[which], pairs[which][0][row].item(), pairs[which][1][row].item())
            for row, which in examples
        ),
    )


def is_equal_but_for_source(old: Chunk, new: Chunk, *, row_group_rows: int | None) -> bool:
    """True if the chunks differ in nothing but their source: the new one, with the old source, encodes to the old file.

    That is so, too, if the new chunk names fewer sources that have a flawed kline.

    False also where the old chunk is provisional and the new one is not, as the new source then has to replace the old.
    """
    if new.entry.sha256 == old.entry.sha256:
        return True
    if old.entry.state is State.PROVISIONAL and new.entry.state is not State.PROVISIONAL:
        return False
    flaws = attested(old.footer.flaws, new.footer.flaws)
    footer = replace(new.footer, source=old.footer.source, flaws=flaws)
    if footer != old.footer:
        return False
    content = encode(new.klines, footer, row_group_rows=row_group_rows)
    return sha256_of(content) == old.entry.sha256


def append(folder: StorePath, revision: Revision) -> None:
    """Append the revision to the dataset's ledger; the caller holds the folder's lock.

    Under a lock no line is added if the day's last one is of the same two chunks: a process was killed between noting
    and replacing. Only the last 200 kB are searched for it, as live mode may add a line each minute. Where there are no
    locks, that line may be of a process that goes on, and may be withdrawn.
    """
    files = storage_of(folder)

    def line(written: bytes) -> bytes:
        last = None if files.is_conditional else _last_of(revision.day, written)
        if last is not None and (last.old_sha256, last.new_sha256) == (revision.old_sha256, revision.new_sha256):
            return b""
        # A killed process may have left a line without its end, to which this one must not be joined.
        start = b"\n" if written and not written.endswith(b"\n") else b""
        return start + _line_of(revision)

    files.append(folder / REVISIONS_FILE, _LAST_LINES_BYTES, line)


def refused(folder: StorePath, dataset: Dataset, revision: Revision, new: Chunk, stored: Chunk | None) -> None:
    """Withdraw a revision whose new chunk was refused, unless the chunk that is stored now has its values.

    Then the new chunk was stored and the answer lost, and another process has put one in its place that goes on from it
    before the request was sent again.
    """
    if stored is None or revision_between(stored, new):
        withdraw(folder, revision)
    else:
        say(dataset, revision)


@again_if_changed
def withdraw(folder: StorePath, revision: Revision) -> None:
    """Take a revision out of the ledger that this process has appended, as its chunk was refused."""
    files, path = storage_of(folder), folder / REVISIONS_FILE
    written, version = files.read_version(path, _MOST_BYTES)
    before, line, after = written.rpartition(_line_of(revision))
    if line:
        files.write(path, before + after, version)


def read(folder: StorePath, stored: Iterable[Entry] = ()) -> list[Revision]:
    """The dataset's revisions in the order they were noticed, without those that did not take place.

    A line that is not a whole revision is skipped. `stored` are the entries of the chunks that are stored now.
    """
    path = folder / REVISIONS_FILE
    try:
        written = storage_of(path).read(path, _MOST_BYTES)
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise StoreError(f"{path} cannot be used: {error}; move it away, a new one is begun") from None
    return _that_took_place(list(_parsed(written.splitlines())), stored)


def _that_took_place(noted: Sequence[Revision], stored: Iterable[Entry]) -> list[Revision]:
    """Without the revisions of processes that were killed before they replaced the chunk.

    A chunk is replaced once: of several revisions of one chunk, that one counts whose new chunk is stored or was
    revised later, else the last. A chunk that is still stored was not replaced. The same chunk may come again.
    """
    there = {(entry.day, entry.sha256) for entry in stored}
    replaced: dict[tuple[str, str], int | None] = dict.fromkeys(there)
    took_place, is_sure = set[int](), set[int]()
    for number in reversed(range(len(noted))):
        revision = noted[number]
        old, new = (revision.day, revision.old_sha256), (revision.day, revision.new_sha256)
        if old in replaced:
            rival = replaced[old]
            if rival is None or rival in is_sure or new not in there:
                continue
            took_place.discard(rival)
        replaced[old] = number
        took_place.add(number)
        if new in there:
            is_sure.add(number)
        # Before it, the old chunk was stored, and the new one was not or had a revision of its own.
        there = there - {new} | {old}
        replaced.pop(new, None)
    return [revision for number, revision in enumerate(noted) if number in took_place]


def _line_of(revision: Revision) -> bytes:
    return json.dumps(records.content(revision), separators=(",", ":")).encode() + b"\n"


def _last_of(day: str, written: bytes) -> Revision | None:
    # Searched as bytes: a ledger may have thousands of lines of other days, and parsing them would take long.
    start = written.rfind(b'{"day":"%s"' % day.encode())
    return None if start < 0 else next(_parsed([written[start:].partition(b"\n")[0]]), None)


def _parsed(lines: Iterable[bytes]) -> Iterator[Revision]:
    for line in lines:
        with suppress(ValueError, UsageError):
            revision = records.parse(Revision, line)
            _require_possible(revision)
            yield revision


def _require_possible(revision: Revision) -> None:
    """Refuse a line of the ledger that no writer writes.

    Raises:
        ValueError: a day, a span, a hash or a field is none, or there are no minutes.
    """
    require_storable(date.fromisoformat(revision.day))
    parse_instant(revision.at, parse_zone("UTC"))
    for span in revision.minutes:
        records.require_span(span.start_ms, span.end_ms)
    for sha256 in (revision.old_sha256, revision.new_sha256):
        records.require_sha256(sha256)
    if not revision.minutes or not {*revision.fields, *(change.field for change in revision.examples)} <= {*FIELDS}:
        raise ValueError(f"{revision.fields} of {len(revision.minutes)} spans")
