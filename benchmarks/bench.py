"""What all benchmarks share: sizes, the exchange, fresh data roots, and verified runs of each side.

Belongs here: one run of one side, with proof that it did its work. Does not belong here: what is compared (`cases`),
how a process is measured (`processes`).
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.exchange import Exchange, Window
from benchmarks.processes import NONE, PROJECT, BenchmarkFailed, Run, python, work

# Every load requests a pair's first and last kline.
_MOST_SIDE_ROWS = 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """Days, and how often each pair is measured."""

    spot_long_days: int = 2450
    futures_long_days: int = 1200
    naive_days: int = 60
    month_days: int = 31
    year_days: int = 365
    archive_days: int = 1000
    whole_days: int = 2500
    rounds: int = 3
    quick_commands: int = 15
    store_rounds: int = 5
    live_pairs: tuple[int, ...] = (100, 500)
    live_minutes: int = 4
    panel_pairs: int = 100
    panel_days: int = 90
    market_pairs: int = 100
    datasets: int = 1000
    few_datasets: int = 50
    recorded_days: int = 900
    host_pairs: int = 40
    host_days: int = 90


FULL = Sizes()
QUICK = Sizes(
    30,
    20,
    3,
    3,
    5,
    20,
    30,
    rounds=1,
    quick_commands=2,
    store_rounds=1,
    live_pairs=(5,),
    live_minutes=1,
    panel_pairs=4,
    panel_days=5,
    market_pairs=5,
    datasets=20,
    few_datasets=5,
    recorded_days=30,
    host_pairs=6,
    host_days=3,
)


@dataclass
class Bench:
    """The place where benchmarks run: every load gets a data root of its own, below `folder`.

    Commands of the package run from `checkout`, scripts of `measured` from this one.
    """

    sizes: Sizes
    exchange: Exchange
    folder: Path
    checkout: Path = PROJECT
    costs: list[dict[str, int]] = field(default_factory=list)

    def window(self, market: str, days: int) -> Window:
        """Days without a halt: 2024 to January 2025."""
        return Window(market, "2024-01-01", days)

    def new_root(self) -> Path:
        """A fresh data root."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def engine(self, window: Window, root: Path | None = None, *, source: str = "rest") -> Run:
        """Load by the engine alone."""
        with self._watched(window, by_rest=source == "rest"):
            run = self._engine(window, root or self.new_root(), self.exchange.url, source)
        return self._verified("engine", window, run, window.rows)

    def engine_from(self, window: Window, url: str, *, source: str) -> Run:
        """Load by the engine alone from another exchange, on a fresh data root."""
        return self._verified("engine", window, self._engine(window, self.new_root(), url, source), window.rows)

    def engine_elsewhere(self, window: Window, root: Path, url: str) -> Run:
        """Load by the engine from another exchange; each minute that it lacks must be an outage."""
        run = self._engine(window, root, url)
        return self._verified("engine", window, run, window.minutes - run.facts["absent"].get("outage", 0))

    def _engine(self, window: Window, root: Path, url: str, source: str = "rest") -> Run:
        arguments = [*window.arguments, "--root", str(root), "--url", url, "--source", source]
        return python("-m", "benchmarks.measured.engine", *arguments, root=self.folder)

    def naive(self, window: Window) -> Run:
        """Load by the loop that users write."""
        self.exchange.await_room(window.market, window.naive_weight)
        arguments = [*window.arguments, "--root", str(self.new_root()), "--url", self.exchange.url]
        with self.exchange.watched(window.market):
            run = python("-m", "benchmarks.measured.naive", *arguments, root=self.folder)
        return self._verified("naive loop", window, run, window.rows)

    def downloads(self, window: Window, *options: str) -> Run:
        """Download the archive's files by the loop that users write."""
        arguments = [*window.arguments, "--url", self.exchange.url, *options]
        run = python("-m", "benchmarks.measured.downloads", *arguments, root=self.folder)
        return self._verified("download loop", window, run, window.rows)

    def backfill(
        self, window: Window, root: Path | None = None, *, source: str = "rest", nothing_to_do: bool = False
    ) -> Run:
        """Load by the whole command, Dagster and all."""
        root = root or self.new_root()
        with self._watched(window, by_rest=source == "rest" and not nothing_to_do):
            arguments = ["backfill", *window.bounds, "--source", source]
            run = self.command("--market", window.market, *arguments, root=root)
        if nothing_to_do and self.costs[-1]["files"]:
            raise BenchmarkFailed(f"a backfill with nothing to do requested {self.costs[-1]['files']} files")
        if (rows := rows_listed(root)) != window.rows:
            raise BenchmarkFailed(f"backfill stored {rows} rows, not {window.rows}:\n{run.output}")
        self.say(f"backfill {window.market} {window.days} days: {run.wall_s:.2f} s")
        return run

    @contextmanager
    def _watched(self, window: Window, *, by_rest: bool) -> Iterator[None]:
        """A block that loads the window from REST, which must have room for it, or nothing from there."""
        self.exchange.await_room(window.market, window.least_weight if by_rest else 0)
        with self.exchange.watched(window.market) as cost:
            yield
        if not by_rest and cost["rows"] > _MOST_SIDE_ROWS:
            raise BenchmarkFailed(f"REST should have sent no klines, but sent {cost['rows']}")
        self.costs.append(cost)

    def command(self, *arguments: str, root: Path, variables: Mapping[str, str] = NONE) -> Run:
        """`market-data` with the arguments, and these variables in its environment."""
        command = ("-m", "market_data_pipeline", *arguments)
        return python(*command, root=root, url=self.exchange.url, checkout=self.checkout, variables=variables)

    def bookkeeping(self, days: int) -> Run:
        """Record days in Dagster that were not loaded."""
        root = self.new_root()
        run = python("-m", "benchmarks.measured.bookkeeping", "--root", str(root), "--days", str(days), root=root)
        self.say(f"bookkeeping {days} days: work {work(run):.2f} s, {run.facts['bytes'] / days:.0f} bytes a day")
        return run

    def store_job(self, job: str, window: Window, root: Path, *, rows: int | None = None) -> Run:
        """A job of `measured.store_jobs`; it must have seen every kline of the window, or as many as `rows`."""
        named = ["--market", window.market, "--pair", window.pair, "--root", str(root)]
        run = python("-m", "benchmarks.measured.store_jobs", job, *named, root=root)
        return self._verified(job, window, run, window.rows if rows is None else rows)

    @cached_property
    def year(self) -> Window:
        """The window of the store that benchmarks which only read share: futures, the default market."""
        return self.window("futures", self.sizes.year_days)

    @cached_property
    def year_root(self) -> Path:
        """The data root with that window in it."""
        return self._loaded(self.year)

    @cached_property
    def whole(self) -> Window:
        """The window of the largest such store: nearly all of futures, from the first whole month on."""
        return Window("futures", "2019-10-01", self.sizes.whole_days)

    @cached_property
    def whole_root(self) -> Path:
        """The data root with that window in it."""
        return self._loaded(self.whole)

    def _loaded(self, window: Window) -> Path:
        """A data root loaded by the whole command, so that Dagster knows it too."""
        root = self.new_root()
        self.backfill(window, root, source="auto")
        return root

    def _verified(self, what: str, window: Window, run: Run, rows: int) -> Run:
        facts = run.facts
        if facts["rows"] != rows:
            raise BenchmarkFailed(f"{what} had {facts['rows']} rows of {window.market}, not {rows}: {facts}")
        if facts.get("outcomes", {}).keys() - {"loaded", "unchanged"} or facts.get("absent", {}).keys() - {"outage"}:
            raise BenchmarkFailed(f"{what} left days or minutes open: {facts}")
        if not facts.get("ok", True):
            raise BenchmarkFailed(f"{what} found the store damaged: {facts}")
        self.say(f"{what} {window.market} {window.days} days: {run.wall_s:.2f} s, work {work(run):.2f} s")
        return run

    def say(self, text: str) -> None:
        """Print the text on stderr, to show how far the measurement is."""
        print(f"  {text}", file=sys.stderr, flush=True)


def rows_listed(root: Path) -> int:
    """The rows of all chunks that the manifests below the data root list."""
    manifests = root.glob("*/*/1m/manifest.json")
    return sum(chunk["rows"] for manifest in manifests for chunk in json.loads(manifest.read_bytes())["chunks"])
