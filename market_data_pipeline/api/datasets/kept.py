"""The numbers of datasets as they were last read, and the file that keeps them for the next server.

Belongs here: these values, the file's format, reading and writing it. Does not belong here: when a dataset is read
again (`summaries`), reading it (`catalog`).

The file vouches for nothing: numbers count only while the files of their dataset have the versions that they had when
they were read. Without the file, or with one of another release, all datasets are read again.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from market_data_pipeline import __version__
from market_data_pipeline.api.datasets.catalog import Stamps
from market_data_pipeline.api.datasets.months import Month
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store import layout, records
from market_data_pipeline.core.store.atomic import make_folder, read_file, write_whole
from market_data_pipeline.core.store.status import DatasetStatus, Numbers
from market_data_pipeline.core.store.storage.protocol import StorePath, Version

_MOST_BYTES = 256_000_000
_FORMAT = f"1 of {__version__}"
_log = logging.getLogger(__name__)

Noted = tuple[tuple[tuple[int, int, str] | None, ...], int | None]
"""Stamps as the file has them: of each version its time (ns), its length and its mark; and `Stamps.journaled_ms`."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A dataset in numbers: as in `status`, its months, the requested days without a chunk, the first minute it lacks.

    `changed_at_s` is when its manifest was last written, seconds since 1970.
    """

    status: DatasetStatus
    months: Mapping[str, Month]
    missing_days: int
    since_ms: int | None
    changed_at_s: float


@dataclass(frozen=True, slots=True)
class Remembered:
    """A line of the file: the numbers without the dataset itself, the stamps before they were read, and the day."""

    noted: Noted
    today: date
    numbers: Numbers
    months: dict[str, Month]
    missing_days: int
    since_ms: int | None
    changed_at_s: float

    @classmethod
    def of(cls, summary: Summary, stamps: Stamps, today: date) -> "Remembered":
        """What to remember of a summary."""
        numbers = Numbers(**{field.name: getattr(summary.status, field.name) for field in fields(Numbers)})
        months = dict(summary.months)
        since_ms, changed_at_s = summary.since_ms, summary.changed_at_s
        return cls(noted_of(stamps), today, numbers, months, summary.missing_days, since_ms, changed_at_s)

    def summary(self, dataset: Dataset, folder: StorePath) -> Summary:
        """The summary of this dataset in this folder."""
        numbers = {field.name: getattr(self.numbers, field.name) for field in fields(Numbers)}
        status = DatasetStatus(dataset=dataset, folder=folder, **numbers)
        return Summary(status, self.months, self.missing_days, self.since_ms, self.changed_at_s)


@dataclass(slots=True)
class _Content:
    format: str
    root: str
    datasets: dict[str, Remembered]


class KeptFile:
    """The file of a data root."""

    def __init__(self, path: Path | None, root: StorePath) -> None:
        """Touch nothing. Without a path nothing is kept."""
        self._path, self._root = path, root

    def read(self) -> dict[str, Remembered]:
        """What the file has, by `name_of`; nothing if it cannot be used."""
        if self._path is None:
            return {}
        try:
            content = records.parse(_Content, read_file(self._path, _MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.info("%s is not used, so all datasets are read again: %s", self._path, error)
            return {}
        is_ours = (content.format, content.root) == (_FORMAT, str(self._root))
        return content.datasets if is_ours else {}

    def write(self, datasets: Mapping[str, Remembered]) -> None:
        """Replace the file. It may be refused: then the next server reads all datasets again."""
        if self._path is None:
            return
        try:
            make_folder(self._path.parent)
            write_whole(self._path, records.compact(_Content(_FORMAT, str(self._root), dict(datasets))))
        except OSError as error:
            _log.info("%s cannot be written: %s", self._path, error)


def name_of(path: StorePath) -> str:
    """How the file calls the dataset with this `dataset.json`."""
    return "/".join(layout.owner_of(path))


def noted_of(stamps: Stamps) -> Noted:
    """The stamps as the file has them."""
    return tuple(map(_noted, stamps.files)), stamps.journaled_ms


def _noted(found: Version | None) -> tuple[int, int, str] | None:
    return (found.modified_ns, found.size_bytes, found.mark) if found else None
