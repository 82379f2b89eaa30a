"""What all benchmarks share: sizes, the exchange, fresh data roots, and verified runs of each side.

Belongs here: one run of one side, with proof that it did its job. Does not belong here: what is compared (the
benchmarks), how a process is measured (`measuring`).
"""

import json
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.exchange import Exchange, Window
from benchmarks.measuring import BenchmarkFailed, Run, python, work


@dataclass(frozen=True, slots=True)
class Sizes:
    """Days, and how often each pair is measured."""

    spot_long_days: int = 2450
    futures_long_days: int = 1200
    naive_days: int = 60
    month_days: int = 31
    year_days: int = 365
    rounds: int = 3
    quick_commands: int = 15
    store_rounds: int = 5


FULL = Sizes()
QUICK = Sizes(30, 20, 3, 3, 5, rounds=1, quick_commands=2, store_rounds=1)


@dataclass
class Bench:
    """The place where benchmarks run. Every load gets a data root of its own."""

    sizes: Sizes
    exchange: Exchange
    folder: Path
    judged: bool = True
    costs: list[dict[str, int]] = field(default_factory=list)

    def window(self, market: str, days: int) -> Window:
        """Days without a halt: 2024 to January 2025."""
        return Window(market, "2024-01-01", days)

    def new_root(self) -> Path:
        """A fresh data root."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def engine(self, window: Window, root: Path | None = None) -> Run:
        """Load by the engine alone."""
        self.exchange.await_room(window.market, window.least_weight)
        with self.exchange.watched(window.market) as cost:
            run = self._engine(window, root or self.new_root(), self.exchange.url)
        self.costs.append(cost)
        return self._verified("engine", window, run, window.rows)

    def engine_elsewhere(self, window: Window, root: Path, url: str) -> Run:
        """Load by the engine from another exchange; minutes that it does not have must be outages."""
        run = self._engine(window, root, url)
        return self._verified("engine", window, run, window.minutes - run.facts["absent"].get("outage", 0))

    def _engine(self, window: Window, root: Path, url: str) -> Run:
        arguments = [*window.arguments, "--root", str(root), "--url", url]
        return python("-m", "benchmarks.engine", *arguments, root=self.folder)

    def naive(self, window: Window) -> Run:
        """Load by the loop that users write."""
        self.exchange.await_room(window.market, window.naive_weight)
        arguments = [*window.arguments, "--root", str(self.new_root()), "--url", self.exchange.url]
        with self.exchange.watched(window.market):
            run = python("-m", "benchmarks.naive", *arguments, root=self.folder)
        return self._verified("naive loop", window, run, window.rows)

    def backfill(self, window: Window, root: Path | None = None, *, nothing_to_do: bool = False) -> Run:
        """Load by the whole command, Dagster and all."""
        root = root or self.new_root()
        self.exchange.await_room(window.market, 0 if nothing_to_do else window.least_weight)
        with self.exchange.watched(window.market) as cost:
            run = self.command("--market", window.market, "backfill", *window.bounds, root=root)
        if nothing_to_do and cost["rows"] > 10:
            raise BenchmarkFailed(f"a backfill with nothing to do loaded {cost['rows']} rows")
        if (rows := _rows_listed(root)) != window.rows:
            raise BenchmarkFailed(f"backfill stored {rows} rows, not {window.rows}:\n{run.output}")
        self.say(f"backfill {window.market} {window.days} days: {run.wall_s:.2f} s")
        return run

    def command(self, *arguments: str, root: Path) -> Run:
        """`market-data` with the arguments."""
        return python("-m", "market_data_pipeline", *arguments, root=root, url=self.exchange.url)

    def store_job(self, job: str, window: Window, root: Path, *, rows: int | None = None) -> Run:
        """A job of `stores`; it must have seen every kline of the window, or as many as `rows`."""
        named = ["--market", window.market, "--pair", window.pair, "--root", str(root)]
        run = python("-m", "benchmarks.stores", job, *named, root=root)
        return self._verified(job, window, run, window.rows if rows is None else rows)

    @cached_property
    def year(self) -> Window:
        """The window of the store that benchmarks which only read share: futures, the default market."""
        return self.window("futures", self.sizes.year_days)

    @cached_property
    def year_root(self) -> Path:
        """The data root with that window in it, loaded by the whole command so that Dagster knows it too."""
        root = self.new_root()
        self.backfill(self.year, root)
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
        """Tell on stderr how far the measurement is."""
        print(f"  {text}", file=sys.stderr, flush=True)


def _rows_listed(root: Path) -> int:
    manifests = root.glob("*/*/1m/manifest.json")
    return sum(chunk["rows"] for manifest in manifests for chunk in json.loads(manifest.read_bytes())["chunks"])
