"""The results of `health` and `doctor`, as people read them in a terminal.

Belongs here: words, order and colours of a result. Does not belong here: the same as JSON (`app.as_json`).
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from market_data_pipeline.cli.console import out, styled
from market_data_pipeline.core.text import count_text

if TYPE_CHECKING:
    from market_data_pipeline.app.doctor.lines import Line
    from market_data_pipeline.app.health import Sign

_INDENT = 6
_NAME_WIDTH = 17
# In a narrower terminal the names are no column.
_LEAST_WIDTH, _LEAST_ROOM = 60, 30


def print_health(signs: "Sequence[Sign]") -> None:
    """Print one line for each check of `app.health`."""
    for sign in signs:
        mark = ("ok ", "green") if sign.ok else ("BAD", "red")
        out.print(styled(mark, f" {sign.name:<14} {sign.detail}"))


class DoctorPage:
    """The page of an examination, which grows line by line. In a terminal, lines are wrapped to its width."""

    def __init__(self) -> None:
        """Print nothing yet."""
        self.lines: list[Line] = []

    @property
    def ok(self) -> bool:
        """True if nothing needs care."""
        return all(line.ok for line in self.lines)

    def add(self, line: "Line", *, shown: bool = True) -> None:
        """Note a line, and print it below the heading of its section."""
        is_first = not self.lines or self.lines[-1].section != line.section
        self.lines.append(line)
        if not shown:
            return
        if is_first:
            out.print(styled((line.section, "bold")))
        mark = ("ok  ", "green") if line.ok else ("BAD ", "red")
        _print_wrapped(mark, line.name, line.detail)
        if line.cure:
            _print_wrapped(("    ", ""), "what to do", line.cure)

    def end(self) -> None:
        """Print the verdict."""
        wrong = sum(not line.ok for line in self.lines)
        verdict = (f"{count_text(wrong, 'line')} need{'s' if wrong == 1 else ''} care", "red")
        out.print(styled(("nothing needs care", "green") if self.ok else verdict))


def _print_wrapped(mark: tuple[str, str], name: str, detail: str) -> None:
    """Print a line; what does not fit into the width of the terminal follows below it, indented."""
    if not out.is_terminal:
        out.print(styled("  ", mark, f"{name:<{_NAME_WIDTH}} {detail}"))
        return
    is_wide = out.width >= _LEAST_WIDTH
    head = f"{name:<{_NAME_WIDTH}} " if is_wide else f"{name}: "
    room, indent = max(out.width, _LEAST_ROOM) - _INDENT, " " * (len(head) if is_wide else 2)
    first, *more = textwrap.wrap(head + detail, room, subsequent_indent=indent, break_on_hyphens=False)
    out.print(styled("  ", mark, first))
    for line in more:
        out.print(" " * _INDENT + line)
