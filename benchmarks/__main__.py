"""`python -m benchmarks [NAMES] [--quick] [--write]`, which is `make bench`.

Belongs here: which benchmarks run, in which order, and what is written. Does not belong here: anything they measure.
"""

import argparse
import inspect
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.cases import archives, browse, buckets, commands, hosts, live, loads, market, panels, scale, stored
from benchmarks.exchange import simulated_exchange
from benchmarks.processes import PROJECT, BenchmarkFailed, NotHere
from benchmarks.report import Section, machine, print_section, write_markdown
from benchmarks.results import Line

BENCHMARKS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    "spot-long": loads.spot_long,
    "futures-long": loads.futures_long,
    "archive": archives.archive,
    "market": market.market,
    "naive": loads.naive,
    "memory": loads.memory,
    "dagster": commands.dagster,
    "bookkeeping": commands.bookkeeping,
    "location": commands.location,
    "startup": commands.startup,
    "status": commands.status,
    "short": commands.short,
    "nothing-to-do": commands.nothing_to_do,
    "live": live.live,
    "verify": stored.verify,
    "size": stored.size,
    "panel": panels.panel,
    "bucket": buckets.bucket,
    "browse": browse.browse,
    "scale": scale.scale,
    "hosts": hosts.hosts,
}
_PAGE = PROJECT / "docs" / "benchmarks.md"


def main() -> int:
    options = _options()
    names, sizes, facts = options.names or list(BENCHMARKS), QUICK if options.quick else FULL, machine()
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as folder:
        try:
            with simulated_exchange() as exchange:
                bench = Bench(sizes, exchange, Path(folder))
                for name in names:
                    bench.say(name)
                    about = inspect.getdoc(BENCHMARKS[name]) or ""
                    try:
                        lines = list(BENCHMARKS[name](bench))
                    except NotHere as reason:
                        if options.names:
                            raise
                        bench.say(f"left out: {reason}")
                        continue
                    sections.append(Section(name, about, lines, judged=not options.quick))
                    print_section(sections[-1])
        except BenchmarkFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if options.write or not (options.names or options.quick):
        write_markdown(_PAGE, sections, facts, sizes, BENCHMARKS)
        print(f"written: {_PAGE}")
    verdicts = [line.met for section in sections for line in section.lines if line.met is not None]
    if not options.quick:
        print(f"{sum(verdicts)} of {len(verdicts)} goals met")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAMES", help=f"of {', '.join(BENCHMARKS)}; all if not given")
    parser.add_argument("--quick", action="store_true", help="a few days only: shows that all works, judges nothing")
    parser.add_argument(
        "--write", action="store_true", help="renew docs/benchmarks.md, in which the benchmarks that were not run stay"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
