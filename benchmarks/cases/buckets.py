"""Benchmark of a data root in a bucket of an object store.

Belongs here: bucket. Does not belong here: the same commands on a folder against something else (`market`, `stored`,
`panels`).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from benchmarks.bench import Bench
from benchmarks.cases.market import make_files, pair_name
from benchmarks.exchange import Exchange, Window, simulated_exchange
from benchmarks.objects import ObjectStore, object_store
from benchmarks.processes import BenchmarkFailed, Run, alternating, cpu, python, wall, work
from benchmarks.results import Line, compared


def bucket(bench: Bench) -> Iterator[Line]:
    """The same commands on a data root in a bucket of SeaweedFS on this machine, and on one in a folder, in turns.

    Ours is the bucket, against is the folder. Spot pairs are loaded from the archive with one command, into a new root
    each time; their files are made before, and an exchange without delay serves them from the disk. The other commands
    are those about all pairs of the root that was loaded last. The exchange, SeaweedFS and the command share the cores,
    so what SeaweedFS needs of them counts against the bucket; the notes tell its CPU, and the requests that it got.
    Files and objects are in the system's cache.
    """
    window = bench.window("spot", bench.sizes.panel_days)
    files = bench.new_root()
    make_files(bench, files, window, bench.sizes.market_pairs)
    with simulated_exchange(rtt_ms=0, archive=files) as exchange, object_store() as objects:
        yield from _Turns(bench, exchange, objects, window).lines()


@dataclass(frozen=True, slots=True)
class _Place:
    """A data root, and what a program needs to reach it."""

    root: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Turns:
    """Each command in both places, one after the other."""

    bench: Bench
    exchange: Exchange
    objects: ObjectStore
    window: Window
    bucket: _Place = field(init=False)
    folder: _Place = field(init=False)

    def lines(self) -> Iterator[Line]:
        """A line for each command."""
        pairs = self.bench.sizes.market_pairs
        what = f"{pairs} pairs, {self.window.days} days"
        yield self._line(f"{what}: load", wall, self._load_bucket, self._load_folder, goal=1.3)
        for name, value, command, goal in (
            ("load again, nothing to do", wall, self._load, None),
            ("verify", wall, self._verify, 2.0),
            ("closes by open_panel, work without imports", work, self._panel, 1.5),
            ("status", wall, self._status, None),
            ("combine", wall, self._combine, None),
            ("closes by open_panel from combined files, work without imports", work, self._panel, None),
        ):
            sides = partial(command, self.bucket), partial(command, self.folder)
            yield self._line(f"{what}: {name}", value, *sides, goal=goal)

    def _line(
        self,
        what: str,
        value: Callable[[Run], float],
        in_bucket: Callable[[], Run],
        in_folder: Callable[[], Run],
        *,
        goal: float | None,
    ) -> Line:
        requests, server = Counter[str](), list[float]()

        def counted() -> Run:
            before, cpu_s = self.objects.requests(), self.objects.cpu_s()
            run = in_bucket()
            requests.clear()
            requests.update(self.objects.requests() - before)
            server.append(self.objects.cpu_s() - cpu_s)
            return run

        ours, others = alternating(self.bench.sizes.rounds, counted, in_folder)
        days = self.bench.sizes.market_pairs * self.window.days
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in requests.most_common())
        note = (
            f"{requests.total() / days:.2f} requests a day ({kinds}); seconds of CPU: {cpu(ours[-1]):.1f} in the "
            f"bucket and {server[-1]:.1f} of SeaweedFS beside it, {cpu(others[-1]):.1f} in the folder"
        )
        return compared(what, value, ours, others, "in a folder", goal=goal, note=note)

    def _load_bucket(self) -> Run:
        machine = self.bench.new_root()  # what belongs to a machine, which is below the root where that is a folder
        here = {"DAGSTER_HOME": str(machine / "dagster"), "LOG_DIR": str(machine / "logs")}
        self.bucket = _Place(self.objects.new_root(), {**self.objects.variables, **here})
        return self._load(self.bucket)

    def _load_folder(self) -> Run:
        self.folder = _Place(str(self.bench.new_root()))
        return self._load(self.folder)

    def _load(self, place: _Place) -> Run:
        pairs = self.bench.sizes.market_pairs
        named = [word for number in range(pairs) for word in ("--pair", pair_name(number))]
        load = [*named, "backfill", *self.window.bounds, "--source", "archive"]
        run = self._command(place, "--market", "spot", *load)
        if f"klines    {self.window.rows * pairs:,}" not in run.output:
            raise BenchmarkFailed(f"the load stored other klines than there are:\n{run.output}")
        return run

    def _verify(self, place: _Place) -> Run:
        return self._all_rows(self._command(place, "verify", "--json"))

    def _status(self, place: _Place) -> Run:
        return self._all_rows(self._command(place, "status", "--json"))

    def _combine(self, place: _Place) -> Run:
        return self._command(place, "--market", "spot", "--pair", "*/USDT", "combine")

    def _all_rows(self, run: Run) -> Run:
        """The run, which has told of every kline."""
        rows = sum(each["rows"] for each in json.loads(run.output.splitlines()[-1]))
        if rows != self.window.rows * self.bench.sizes.market_pairs:
            raise BenchmarkFailed(f"a command told of {rows} klines:\n{run.output[:2000]}")
        return run

    def _panel(self, place: _Place) -> Run:
        options = ["panel", "--market", "spot", "--root", place.root]
        run = python("-m", "benchmarks.measured.panels", *options, root=place.root, variables=place.variables)
        if run.facts["values"] != self.window.rows * self.bench.sizes.market_pairs:
            raise BenchmarkFailed(f"the panel had other klines than it should have: {run.facts}")
        return self._told("open_panel", place, run)

    def _command(self, place: _Place, *arguments: str) -> Run:
        command, checkout = ("-m", "market_data_pipeline", *arguments), self.bench.checkout
        run = python(*command, root=place.root, url=self.exchange.url, checkout=checkout, variables=place.variables)
        return self._told(
            next(word for word in arguments if word in {"backfill", "verify", "status", "combine"}), place, run
        )

    def _told(self, what: str, place: _Place, run: Run) -> Run:
        self.bench.say(f"{what} in {place.root.partition('://')[0]}: {run.wall_s:.2f} s, CPU {run.cpu_s:.2f} s")
        return run
