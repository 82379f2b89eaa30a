"""What a format is to an export.

Belongs here: the protocol, and writing tables one after another into a file. Does not belong here: the formats
themselves.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.reader.exporting.output import replaced
from market_data_pipeline.reader.exporting.sources import Source, Tally


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a pair, and what their reader has to know."""

    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class Form(Protocol):
    """A format: which files a pair becomes, and what is in them."""

    def in_the_way(self, output: Path, source: Source) -> Iterator[Path]:
        """The files that are there and would be replaced.

        Raises:
            UsageError: the format cannot have this pair, or klines of this interval, or replace one of these files.
        """

    def write(self, output: Path, source: Source, tally: Tally) -> Written:
        """Write the pair's files, and count what is in them; no file if there are no klines.

        Raises:
            StoreError: a chunk is missing or damaged; no file of it was begun, or it is as it was.
        """


def require_minutes(source: Source, program: str) -> None:
    """Refuse longer klines for a program that makes them itself.

    Raises:
        UsageError: the source has others than 1-minute klines.
    """
    if source.interval.minutes > 1:
        raise UsageError(f"{program} makes klines of {source.interval.name} itself; export those of a minute")


class TableWriter(Protocol):
    """What writes tables into a file, one after another."""

    def write_table(self, table: pa.Table) -> None:
        """Write the next rows."""


Opened = Callable[[pa.NativeFile, pa.Schema], AbstractContextManager[TableWriter]]
"""Begins a file of tables with this schema."""


def write_file(path: Path, tables: Iterable[pa.Table], opened: Opened) -> bool:
    """Write the tables into a file in place of what is there; False if there are none, and nothing is written."""
    left = iter(tables)
    if (first := next(left, None)) is None:
        return False
    with replaced(path) as file, opened(file, first.schema) as writer:
        for table in chain([first], left):
            writer.write_table(table)
    return True
