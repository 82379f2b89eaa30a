"""Revisions: the exchange now gives other values for minutes whose klines are already stored.

Belongs here: what replacing a chunk changes of it, and the ledger that remembers it, `revisions.jsonl`. Does not belong
here: whether a chunk may be replaced, and the lock under which it is (`dataset_store`); showing revisions.
Minutes that only one of two chunks has are no revision: a day that grows, a gap that is filled.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from market_data_pipeline.core.klines.coverage import Span, merge, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.klines.table import FIELDS, common_minutes
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.atomic import appended, sha256_of
from market_data_pipeline.core.store.chunks.encoding import encode
from market_data_pipeline.core.store.chunks.files import Chunk
from market_data_pipeline.core.store.layout import REVISIONS_FILE
from market_data_pipeline.core.store.manifest import State

_MOST_EXAMPLES = 20
_LAST_LINES_BYTES = 200_000
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
    """What replacing the chunk of a day changed of minutes that both chunks have.

    `at` is when it was noticed, ISO UTC. `minutes` are those with other values, `fields` the names of the fields that
    differ in any of them, `examples` the first differing values, at most 20.
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


def note(folder: Path, dataset: Dataset, standing: Chunk, coming: Chunk) -> Revision | None:
    """Put what `coming` says otherwise than the chunk that it replaces into the ledger; return that, if anything."""
    if revision := revision_between(standing, coming):
        append(folder, revision)
        minutes, fields = total_minutes(revision.minutes), ", ".join(revision.fields)
        _log.warning("%s %s revised: %s of %d minutes", dataset.name, revision.day, fields, minutes)
    return revision


def revision_between(old: Chunk, new: Chunk) -> Revision | None:
    """What the new chunk says otherwise than the old one of the same day; None where no common minute differs."""
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
    """True if the new chunk, encoded with `row_group_rows`, is the old file to the byte but for its source.

    A chunk whose source says that it is provisional gives way to one that says the same for good.
    """
    if new.entry.sha256 == old.entry.sha256:
        return True
    if old.entry.state is State.PROVISIONAL and new.entry.state is not State.PROVISIONAL:
        return False
    footer = replace(new.footer, source=old.footer.source)
    if footer != old.footer:
        return False
    content = encode(new.klines, footer, row_group_rows=row_group_rows)
    return sha256_of(content) == old.entry.sha256


def append(folder: Path, revision: Revision) -> None:
    """See to it that the dataset's ledger on disk has the revision; the caller holds the folder's lock.

    No line is added if the day's last one is of the same replacement: whoever noted it was killed before replacing.
    Looked for among the last lines only, as live mode may add one a minute.
    """
    with appended(folder / REVISIONS_FILE) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINES_BYTES))
        written = file.read()
        last = _last_of(revision.day, written)
        if last is None or (last.old_sha256, last.new_sha256) != (revision.old_sha256, revision.new_sha256):
            # What a killed process left of a line must not swallow this one.
            start = b"\n" if written and not written.endswith(b"\n") else b""
            file.write(start + json.dumps(records.content(revision), separators=(",", ":")).encode() + b"\n")


def read(folder: Path) -> list[Revision]:
    """The dataset's revisions in the order they were noticed; a line that a killed process left torn is skipped."""
    try:
        written = (folder / REVISIONS_FILE).read_bytes()
    except FileNotFoundError:
        return []
    return list(_understood(written.splitlines()))


def _last_of(day: str, written: bytes) -> Revision | None:
    # Found by its beginning: a ledger may have thousands of lines of other days, and parsing takes its time.
    start = written.rfind(b'{"day":"%s"' % day.encode())
    return None if start < 0 else next(_understood([written[start:].partition(b"\n")[0]]), None)


def _understood(lines: Iterable[bytes]) -> Iterator[Revision]:
    for line in lines:
        with suppress(ValueError):
            yield records.parse(Revision, line)
