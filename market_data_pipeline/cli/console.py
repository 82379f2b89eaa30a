"""The two streams of the command line: results on stdout, everything else on stderr.

Belongs here: what every command prints the same way. Does not belong here: results (`reports`, `live_table`), progress
(`progress`), errors (`outcome`).
"""

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from market_data_pipeline.core.text import told_of


class _Plain(Console):
    """A console that raises BrokenPipeError where its reader has gone; rich ends the process with code 1."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - it is called where the error is caught


def plain_console(**options: Any) -> Console:
    """A console that prints a text as it is: `[` and `:` begin no markup and no emoji, as in paths and errors.

    Colours are given to `styled`.
    """
    return _Plain(highlight=False, markup=False, emoji=False, **options)


# A row is one line, which a terminal may wrap and `grep` must find. In a narrower one whole columns would have no room.
_WIDEST = 100_000
out = plain_console(soft_wrap=True)
talk = plain_console(stderr=True, soft_wrap=True)


def is_one_page() -> bool:
    """True if stdout and stderr are read as one: a terminal, or the same file or pipe, as by `2>&1`."""
    if out.is_terminal and talk.is_terminal:
        return True
    try:
        one, other = (os.fstat(stream.fileno()) for stream in (sys.stdout, sys.stderr))
    except (OSError, ValueError, AttributeError):
        return False
    # Windows gives a pipe no number.
    return one.st_ino != 0 and os.path.samestat(one, other)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of texts, or of texts each with its style: `styled("it is ", ("good", "green"))`."""
    return Text.assemble(*parts)


def failed_line(name: str, problem: str) -> Text:
    """The line of a dataset, or of a day of it, that failed."""
    return styled(("failed:", "red"), f" {told_of(name, problem)}")


def table_of(columns: Iterable[str], *, right: Collection[str] = ()) -> Table:
    """A table without rows and lines; the columns in `right` are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return table


def print_table(table: Table) -> None:
    """Print a table on stdout, as wide as its longest line."""
    plain_console(width=max(out.width, _WIDEST)).print(table)


def print_json(content: object) -> None:
    """Print a result as JSON on stdout, in one line: what a command tells while it works is in lines before it."""
    print(json.dumps(content), flush=True)  # noqa: T201


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings on stderr, one line each."""
    for warning in warnings:
        talk.print(styled(("WARNING", "bold yellow"), f" {warning}"))
