"""The days that Dagster has recorded, noted in its home: who finds nothing to do need not import Dagster for that.

Belongs here: the note of a dataset, and when it holds. Does not belong here: asking Dagster (`instance.runs`), anything
that imports it, which takes seconds.
A note holds while no database of the home has changed. Where Dagster's storage is a server, there is no note.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import records
from market_data_pipeline.core.store.atomic import FileStamp, stamp_of, write_whole
from market_data_pipeline.instance.names import KLINES, asset_path

Stamps: TypeAlias = list[FileStamp | None]

_FOLDER = "recorded"
_INDEX = Path("history", "runs", "index.db")
_FILES = (Path("dagster.yaml"), Path("history", "runs.db"), _INDEX)
# What a database has beside it while a process has it open: its newest entries.
_LOG = "-wal"


@dataclass(slots=True)
class _Note:
    stamps: list[list[int]]
    days: list[str]


def noted_days(home: Path, dataset: Dataset) -> set[str] | None:
    """The days of the dataset that Dagster has recorded, keys `YYYY-MM-DD`; None if only Dagster can tell."""
    with suppress(OSError, ValueError):
        note = records.parse(_Note, _path(home, dataset).read_bytes())
        if note.stamps == _numbers(stamps_of(home)):
            return set(note.days)
    return None


def note_days(home: Path, dataset: Dataset, days: Collection[str], *, since: Stamps) -> None:
    """Note the days that Dagster has said it has recorded.

    Nothing is noted if a database is not what it was before Dagster was asked (`since`), or was just written: a further
    write may then leave its stamp as it is. Nor if the disk refuses.
    """
    stamps = stamps_of(home)
    if (
        stamps != since
        or stamps[_FILES.index(_INDEX)] is None
        or not all(stamp.is_settled for stamp in stamps if stamp)
    ):
        return
    with suppress(OSError):
        path = _path(home, dataset)
        path.parent.mkdir(exist_ok=True)
        write_whole(path, records.compact(_Note(_numbers(stamps), sorted(days))))


def stamps_of(home: Path) -> Stamps:
    """The stamps of all that says what is recorded; an empty log is none, as the last process removes it."""
    logs = [path.with_name(f"{path.name}{_LOG}") for path in _FILES[1:]]
    stamps = [stamp_of(home / path) for path in (*_FILES, *logs)]
    return [stamp if stamp and stamp.size_bytes else None for stamp in stamps]


def _path(home: Path, dataset: Dataset) -> Path:
    return home / _FOLDER / f"{'.'.join(asset_path(dataset, KLINES))}.json"


def _numbers(stamps: Stamps) -> list[list[int]]:
    return [list(stamp or ()) for stamp in stamps]
