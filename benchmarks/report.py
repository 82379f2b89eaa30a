"""How results look: a table in the terminal, and docs/benchmarks.md.

Belongs here: words and layout, and the description of the machine. Does not belong here: measuring, verdicts.
"""

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.bench import Sizes
from benchmarks.exchange import RTT_MS
from benchmarks.results import HEAD, Line

_PACKAGES = ("dagster", "ccxt", "requests", "numpy", "pandas", "pandera", "pyarrow")
_WIDTH = 200
_COLORS = {"met": "[green]met[/green]", "NOT met": "[bold red]NOT met[/bold red]"}


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark: its name, what it measures and how, its lines, and whether its sizes allow a verdict."""

    name: str
    about: str
    lines: Sequence[Line]
    judged: bool


def machine() -> dict[str, str]:
    """The facts about this machine that decide the numbers."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()}), {memory}, {platform.system()}",
        "load before": f"{psutil.getloadavg()[0]:.1f}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def print_section(section: Section) -> None:
    """One benchmark's table, on stdout."""
    table = Table(title=section.name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in HEAD:
        table.add_column(head, overflow="fold")
    for line in section.lines:
        cells = line.cells(judged=section.judged)
        table.add_row(*cells[:-1], _COLORS.get(cells[-1], cells[-1]))
    # A pipe has no width; the table then takes what it needs of this one.
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDTH)
    console.print(table)
    for line in section.lines:
        if line.note:
            console.print(f"  {line.what}: {line.note}", markup=False)
    console.print()


def write_markdown(
    path: Path, sections: Sequence[Section], facts: Mapping[str, str], sizes: Sizes, order: Iterable[str]
) -> None:
    """The page of all results; benchmarks that were not run now keep their section."""
    kept = _sections_of(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept |= {section.name: _section(section, facts) for section in sections}
    text = [_opening(facts, sizes), *(kept[name] for name in order if name in kept)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8", newline="\n")


def _sections_of(page: str) -> dict[str, str]:
    return {text.partition("\n")[0]: f"## {text.strip()}" for text in page.split("\n## ")[1:]}


def _section(section: Section, facts: Mapping[str, str]) -> str:
    measured = f"Measured {facts['date']}, load before {facts['load before']}."
    notes = [f"- {line.what}: {line.note}." for line in section.lines if line.note]
    parts = [f"## {section.name}", section.about, measured, _table(section), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def _opening(facts: Mapping[str, str], sizes: Sizes) -> str:
    measured = "\n".join(f"- {name}: {facts[name]}" for name in ("machine", "python", "packages"))
    days = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(sizes).items())
    return f"""# Benchmarks

Written by `make bench` (`python -m benchmarks`); do not edit. `make bench ARGS="naive --quick"` measures one, small.

All sides load from one simulated exchange (`market-data simulate --rtt-ms {RTT_MS}`, weights enforced) on the same
machine. Every measured command is a process of its own. Sides take turns (A B A B ...), a ratio is that of a pair that
ran one after the other, and what is shown is the median with (least..most). A load that could meet the weight of the
one before waits for the next minute. A run counts only if it has every kline and no request was answered 429 or 418;
otherwise the benchmark ends with an error. What the live exchange adds (TLS, distance, its own pace) is not in here.

{measured}
- sizes: {days}"""


def _table(section: Section) -> str:
    rows = [HEAD, tuple("---" for _ in HEAD), *(_row(line.cells(judged=section.judged)) for line in section.lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(cells: Sequence[str]) -> tuple[str, ...]:
    *rest, verdict = (cell.replace("|", "\\|") for cell in cells)
    return (*rest, f"**{verdict}**" if verdict == "NOT met" else verdict)
