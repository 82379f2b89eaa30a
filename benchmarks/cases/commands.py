"""Benchmarks of whole commands: what Dagster adds to a load, and how long a command takes that has little to do.

Belongs here: dagster, bookkeeping, location, startup, status, short, nothing-to-do. Does not belong here: loading
itself (`loads`), reading a store (`stored`).
"""

import time
from collections.abc import Iterator
from datetime import date

from benchmarks.bench import Bench
from benchmarks.generated import store_many
from benchmarks.processes import Run, Spread, alternating, python, seen_peak, wall, work
from benchmarks.results import Line, Unit, compared
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.root import Store

# What a backfill with nothing to do imports: all but a few small modules, as `-X importtime` shows.
_IMPORTED = (
    "market_data_pipeline.cli.main",
    "market_data_pipeline.cli.reports",
    "market_data_pipeline.cli.progress",
    "market_data_pipeline.app.backfill",
    "market_data_pipeline.core.sources.union.source",
    "market_data_pipeline.core.sources.rest.client",
    "market_data_pipeline.core.store.dataset_store",
)


# Databases that were written more recently may change again without a trace.
_SETTLED_S = 3


def dagster(bench: Bench) -> Iterator[Line]:
    """`market-data backfill --source rest` of a year of futures against the engine alone, whole processes, in turns.

    Each run has a data root of its own and, as a year takes nearly a whole minute's budget, a minute of its own. What
    remains per day is what Dagster and the command line add: (whole - engine) / days. Then both run again on what they
    loaded: nothing to do.
    """
    year, rounds = bench.year, bench.sizes.rounds
    bench.exchange.warm(year)
    for side in (bench.engine, bench.backfill):
        side(bench.window("futures", 1))
    again: list[list[Run]] = []

    def one_round() -> tuple[Run, Run]:
        mine, other = bench.new_root(), bench.new_root()
        runs = bench.backfill(year, mine), bench.engine(year, other)
        again.append([bench.backfill(year, mine, nothing_to_do=True), bench.engine(year, other)])
        return runs

    whole, engine = (list(runs) for runs in zip(*(one_round() for _ in range(rounds)), strict=True))
    yield _added(f"futures, {year.days} days", whole, engine, year.days, goal=1.50)
    whole, engine = (list(runs) for runs in zip(*again, strict=True))
    yield _added(f"the same again: nothing to do on {year.days} days", whole, engine, year.days)


def bookkeeping(bench: Bench) -> Iterator[Line]:
    """What a day costs in Dagster alone: a run that records days without loading them, on a fresh SQLite home.

    Made up are the days, as the store's manifest describes whole ones. Real are the run, the recorder, the storage and
    the partitions. Measured are the run's creation, its days and its end; bytes are those of the index and the run's
    own database, with the pages in their write-ahead logs.
    """
    days = bench.sizes.archive_days
    recorded = [bench.bookkeeping(days) for _ in range(bench.sizes.rounds)]
    per_day = Spread(tuple(work(run) / days for run in recorded))
    note = f"{per_day.shown(lambda seconds: f'{seconds * 1000:.2f} ms')} per day, most memory {seen_peak(recorded)}"
    yield Line(f"{days} days: time per day", Unit.SECONDS, per_day, goal=0.003, absolute=True, note=note)
    size = Spread(tuple(run.facts["bytes"] / days for run in recorded))
    yield Line(f"{days} days: event log per day", Unit.BYTES, size, goal=4096, absolute=True)


def location(bench: Bench) -> Iterator[Line]:
    """What the code server of Dagster does before a page can show many datasets: CPU of one process, without imports.

    Definitions, repository, snapshot, and the JSON of it that is sent. The datasets have a dataset.json and no chunk.
    """
    datasets, store = bench.sizes.datasets, Store(bench.new_root())
    for number in range(datasets):
        store.create(Market.SPOT, f"N{number:03d}/USDT", zone=parse_zone("UTC"), start=date(2020, 1, 1))
    loaded = [python("-m", "benchmarks.measured.location", root=store.root) for _ in range(bench.sizes.rounds)]
    seconds = Spread(tuple(run.facts["cpu_seconds_of_work"] for run in loaded))
    sent = Unit.BYTES.show(loaded[0].facts["bytes"])
    note = f"{sent} sent, most memory {seen_peak(loaded)}"
    yield Line(f"{datasets} datasets: CPU", Unit.SECONDS, seconds, goal=5.0, absolute=True, note=note)


def _added(what: str, whole: list[Run], engine: list[Run], days: int, *, goal: float | None = None) -> Line:
    per_day = Spread(tuple((a.wall_s - b.wall_s) / days * 1000 for a, b in zip(whole, engine, strict=True)))
    added = per_day.shown(lambda ms: f"{ms:.1f} ms")
    memory = f"most memory seen {seen_peak(whole)}, engine {seen_peak(engine)}"
    note = f"whole command - engine = {added} per day, start-up included; {memory}"
    return compared(what, wall, whole, engine, "engine", goal=goal, note=note)


def startup(bench: Bench) -> Iterator[Line]:
    """Commands with little to do against `python -c "import argparse"`, in turns.

    `market-data` is started as `python -m market_data_pipeline`. `status` and `backfill` are on the store of a year of
    futures; `backfill` asks the exchange for its clock and then, both at once, for the pair's first and last kline:
    two times 150 ms. Dagster was asked which days it has by a backfill before.
    """
    root, many = bench.year_root, bench.sizes.quick_commands
    commands = {"market-data --help": ["--help"], "market-data status": ["--market", "futures", "status"]}

    def bare() -> Run:
        return python("-c", "import argparse", root=root)

    for arguments in ([], *commands.values()):
        bench.command(*arguments, root=root) if arguments else bare()
    started = alternating(many, *(lambda a=a: bench.command(*a, root=root) for a in commands.values()), bare)
    for (name, _), runs, goal in zip(commands.items(), started, (0.25, None), strict=False):
        what = name if goal else f"{name}, store of {bench.year.days} days"
        yield compared(what, wall, runs, started[-1], "import argparse", goal=goal, absolute=True)

    def nothing() -> Run:
        return bench.backfill(bench.year, root, source="auto", nothing_to_do=True)

    time.sleep(_SETTLED_S)
    nothing()
    runs, others = alternating(bench.sizes.store_rounds, nothing, bare)
    what = f"market-data backfill, nothing to do on {bench.year.days} days"
    yield compared(what, wall, runs, others, "import argparse")


def status(bench: Bench) -> Iterator[Line]:
    """`market-data status` of all datasets, as a whole process, and completion of a pair in a shell.

    The datasets are made up: their `dataset.json` and manifests are real files of a year, without chunks. The first
    command finds the numbers out and keeps them; the next ones need only see that no file has changed. Beside it the
    same command finds them out each time, as a file of its root is touched before. Completion is what bash starts at a
    TAB behind `--pair`.
    """
    root, changing, many = bench.new_root(), bench.new_root(), bench.sizes.quick_commands
    for each in (root, changing):
        store_many(each, datasets=bench.sizes.few_datasets, days=bench.sizes.year_days)
    time.sleep(_SETTLED_S + 1)
    words = {"COMP_WORDS": "market-data --market spot --pair N", "COMP_CWORD": "4"}
    completing = {"_MARKET_DATA_COMPLETE": "complete_bash", **words}

    def all_of_them() -> Run:
        return bench.command("status", root=root)

    def anew() -> Run:
        next(changing.rglob("manifest.json")).touch()
        return bench.command("status", root=changing)

    def completed() -> Run:
        return bench.command(root=root, variables=completing)

    for side in (all_of_them, anew, completed):
        side()
    kept, found_out, pairs = alternating(many, all_of_them, anew, completed)
    what = f"market-data status, {bench.sizes.few_datasets} datasets of {bench.sizes.year_days} days"
    yield compared(what, wall, kept, found_out, "found out anew", goal=0.3, absolute=True)
    yield Line(
        "completion of --pair", Unit.SECONDS, Spread(tuple(run.wall_s for run in pairs)), goal=0.3, absolute=True
    )


def short(bench: Bench) -> Iterator[Line]:
    """`market-data backfill --source rest` of some days of spot against the engine alone, whole processes, in turns.

    The goal is what the command may take beside the engine: Dagster's import, its run, and the command line.
    """
    window = bench.window("spot", bench.sizes.naive_days)
    bench.exchange.warm(window)
    for side in (bench.engine, bench.backfill):
        side(bench.window("spot", 1))
    whole, engine = alternating(bench.sizes.rounds, lambda: bench.backfill(window), lambda: bench.engine(window))
    added = Spread(tuple(a.wall_s - b.wall_s for a, b in zip(whole, engine, strict=True)))
    what = f"spot, {window.days} days"
    yield compared(f"{what}: whole command", wall, whole, engine, "engine")
    yield Line(f"{what}: whole command less the engine", Unit.SECONDS, added, goal=1.2, absolute=True)


def nothing_to_do(bench: Bench) -> Iterator[Line]:
    """`market-data backfill` of futures from 2019-10-01 of which every day is stored, as a whole process.

    The store is loaded before, by the same command with its default source, so that Dagster has a materialization of
    each day. The first such backfill asks Dagster, is not counted, and notes in its home what it heard; as long as
    Dagster's databases stay as they are, the next ones need not import it. Beside each runs a bare
    `python -c "import ..."` of what the command imports. What is left is the work: the exchange's clock, then the
    pair's first and last kline (two times 150 ms), the manifest, the report.
    """
    root, code = bench.whole_root, f"import {', '.join(_IMPORTED)}"

    def nothing() -> Run:
        return bench.backfill(bench.whole, root, source="auto", nothing_to_do=True)

    def imports() -> Run:
        return python("-c", code, root=root)

    time.sleep(_SETTLED_S)
    nothing()
    imports()
    whole, bare = alternating(bench.sizes.store_rounds, nothing, imports)
    what = f"market-data backfill, nothing to do on {bench.whole.days} days"
    took = Spread(tuple(run.wall_s for run in whole))
    yield Line(f"{what}: whole process", Unit.SECONDS, took, goal=1.5, absolute=True)
    yield compared(f"{what}: whole process", wall, whole, bare, "its imports")
