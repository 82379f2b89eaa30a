"""Which chunk may take the place of the stored one, and trying again where another process was faster.

Belongs here: the rule, its error, how long it is tried. Does not belong here: how a chunk is replaced
(`publishing`), what changed in it (`store.revisions`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Span, subtract
from market_data_pipeline.core.klines.days import Day
from market_data_pipeline.core.klines.table import cut, open_times
from market_data_pipeline.core.store.chunks.files import Chunk, NewChunk, chunk_problems
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.revisions import is_equal_but_for_source
from market_data_pipeline.core.store.storage.protocol import StorePath, Version, patient
from market_data_pipeline.core.text import count_text

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """What was found on disk where a new chunk is to be.

    Attributes:
        new: the new chunk.
        path: where it is to be.
        found: the version of the file there, None for none.
        stored: the chunk in it, None if it is no whole one.
    """

    new: NewChunk
    path: StorePath
    found: Version | None
    stored: Chunk | None

    @property
    def is_of_another(self) -> bool:
        """True if the new chunk keeps klines of another one than the stored one."""
        return self.stored is not None and self.new.based_on not in {None, self.stored.entry.sha256}

    @cached_property
    def is_equal(self) -> bool:
        """True if the stored chunk stays, as it differs from the new one in nothing but its source."""
        rows = self.new.row_group_rows
        return self.stored is not None and is_equal_but_for_source(self.stored, self.new.chunk, row_group_rows=rows)

    @property
    def replaces(self) -> bool:
        """True if the new chunk is to take the place of the stored one."""
        if self.stored is None or self.is_of_another or self.is_equal:
            return False
        return _lost(self.stored, self.new).size == 0


class Overtaken(StoreError):
    """The chunk on disk has minutes that a new one lacks, or is another than the one whose klines the new one keeps.

    Another process may have written it meanwhile: make the new chunk again, from what is stored now. `refused` has the
    sha256 of the new chunk and of the stored one, if these two would always end like this.
    """

    def __init__(self, problem: str, refused: tuple[str, str] | None = None) -> None:
        super().__init__(problem)
        self.refused = refused


def until_published(publish: Callable[[], T]) -> T:
    """Call what makes a chunk from what is stored and publishes it, again if another process has overtaken it.

    Raises:
        Overtaken: the stored chunk has refused this very chunk before; or others go on writing it, for 60 s.
    """
    refused = set[tuple[str, str]]()

    def may_succeed(error: BaseException) -> bool:
        if not isinstance(error, Overtaken) or error.refused in refused:
            return False
        if error.refused:
            refused.add(error.refused)
        return True

    return patient(may_succeed)(publish)()


def refuse_worse(dataset: str, stored: Chunk, new: NewChunk) -> None:
    """Raise Overtaken if the new chunk lacks minutes that the stored one has. `dataset` is for people."""
    lost = _lost(stored, new)
    if lost.size:
        minutes = count_text(lost.size, "minute")
        raise Overtaken(
            f"{dataset} {new.day.key} keeps its chunk: the exchange now lacks {minutes} that it has",
            (new.chunk.entry.sha256, stored.entry.sha256),
        )


def _lost(stored: Chunk, new: NewChunk) -> npt.NDArray[np.int64]:
    """The open times of the day that only the stored chunk has.

    Others are of another day by now: the rules of a zone change, and with them where a day begins and ends.
    """
    of_day = cut(stored.klines, Span(new.day.start_ms, new.day.end_ms))
    return np.setdiff1d(open_times(of_day), open_times(new.chunk.klines), assume_unique=True)


def is_as_good(chunk: Chunk, listed: Entry, day: Day) -> bool:
    """True if the chunk keeps every rule and has all minutes of the listed one, in whose place it was found.

    Where there are no locks, another process may list a chunk again that is just being replaced, and who replaces it
    may be killed before it has corrected the list.
    """
    return not (lacks_minutes(chunk.entry, listed) or chunk_problems(chunk.klines, chunk.footer, day))


def lacks_minutes(new: Entry, listed: Entry) -> bool:
    """True if a chunk has no kline of a minute of which the listed chunk of the day has one."""
    absent = (absence.span for absence in new.absences)
    return bool(subtract(absent, [absence.span for absence in listed.absences]))
