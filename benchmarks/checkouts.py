"""`python -m benchmarks.checkouts FOLDER [--rounds N] [--quick]`: this checkout against another one.

Belongs here: the commands that a change must not slow down. Does not belong here: other comparisons (`cases`).
The two checkouts take turns (A B A B ...). Each runs with its own modules and its own data roots, against one simulated
exchange, which this checkout starts. Both need the same command line, nothing else.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.bench import FULL, QUICK, Bench, Sizes
from benchmarks.exchange import Exchange, simulated_exchange
from benchmarks.processes import BenchmarkFailed, Run, Spread, alternating, cpu, python, wall
from benchmarks.report import Section, print_section
from benchmarks.results import Line, compared

_MOST = 1.03
Command = Callable[[Bench], Run]


def lines(mine: Bench, other: Bench) -> Iterator[Line]:
    """Each command in both checkouts: seconds of the whole process, and the ratio of each pair of runs."""
    sizes = mine.sizes
    for what, command in _commands(mine).items():
        # Not counted: the first run compiles the modules.
        for bench in (mine, other):
            command(bench)
        runs, others = alternating(sizes.rounds, partial(command, mine), partial(command, other))
        line = compared(what, wall, runs, others, "the other checkout", goal=_MOST)
        yield dataclasses.replace(line, note=_cpu_note(runs, others))


def _commands(bench: Bench) -> dict[str, Command]:
    year, month = bench.window("spot", bench.sizes.year_days), bench.window("spot", bench.sizes.month_days)
    bench.exchange.warm(year)
    bench.exchange.warm(month)
    days, all_days = year.days, bench.whole.days
    return {
        f"backfill of {days} days of spot from the archive": lambda side: side.backfill(year, source="archive"),
        f"backfill of {month.days} days of spot from REST": lambda side: side.backfill(month),
        f"backfill with nothing to do on {all_days} days": lambda side: side.backfill(
            side.whole, side.whole_root, source="auto", nothing_to_do=True
        ),
        f"verify of {days} days": lambda side: side.command("--market", "futures", "verify", root=side.year_root),
        f"status of {all_days} days": lambda side: side.command("--market", "futures", "status", root=side.whole_root),
        "import market_data_pipeline.reader": lambda side: python(
            "-c", "import market_data_pipeline.reader", root=side.folder, checkout=side.checkout
        ),
    }


def _cpu_note(runs: list[Run], others: list[Run]) -> str:
    ratio = Spread(tuple(cpu(run) / cpu(other) for run, other in zip(runs, others, strict=True) if cpu(other)))
    mine, theirs = (Spread(tuple(map(cpu, side))).median for side in (runs, others))
    return f"CPU {mine:.2f} s against {theirs:.2f} s" + (f", ratio {ratio.median:.3f}" if ratio.values else "")


def compare_checkouts(folder: Path, sizes: Sizes, exchange: Exchange, scratch: Path) -> list[Line]:
    """Measure all commands in this checkout and in the one in the folder."""
    sides = []
    for name in ("mine", "other"):
        (scratch / name).mkdir()
        sides.append(Bench(sizes, exchange, scratch / name))
    sides[1].checkout = folder
    return list(lines(*sides))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkouts", description=lines.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the other checkout, for example a git worktree")
    parser.add_argument("--rounds", type=int, help="how often each command is measured in each checkout")
    parser.add_argument("--quick", action="store_true", help="a few days only: shows that all works, judges nothing")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if not (folder / "market_data_pipeline" / "__init__.py").is_file():
        parser.error(f"{folder} is no checkout of this project")
    sizes = QUICK if options.quick else dataclasses.replace(FULL, rounds=7)
    sizes = dataclasses.replace(sizes, rounds=options.rounds or sizes.rounds)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as scratch:
        try:
            with simulated_exchange() as exchange:
                measured = compare_checkouts(folder, sizes, exchange, Path(scratch))
        except BenchmarkFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print_section(Section("checkouts", lines.__doc__ or "", measured, judged=not options.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
