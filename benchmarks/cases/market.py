"""Benchmark of many pairs loaded as one job.

Belongs here: market. Does not belong here: one pair (`loads`, `archives`), reading many pairs (`panels`).
"""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.exchange import Exchange, Window, simulated_exchange
from benchmarks.processes import BenchmarkFailed, Run, Spread, alternating, cpu, python, wall, work
from benchmarks.results import Line, Unit, compared

_FOLDER = "data/spot/daily/klines"
_FEW = 4
_SINGLES_AT_ONCE = 2


def market(bench: Bench) -> Iterator[Line]:
    """Spot pairs from the archive with one command: against the least work for their files, and single commands.

    The files are made before, all pairs have those of one, and an exchange without delay serves them from the disk. Its
    CPU is counted apart: on the same machine it takes time from the load. The floor is unzip, sha256, CSV to Arrow,
    encode, write and sync of the same files, from the disk, in as many processes as there are cores, without what its
    imports take. Seconds of CPU are those of all processes of a side. The load is the whole command: start-up, requests
    with their checksums, the rules, the manifest, the proof, and each day recorded in Dagster.

    For one pair the engine, without interpreter start and imports, against the floor in one process.
    """
    window = bench.window("spot", bench.sizes.year_days)
    folder = bench.new_root()
    make_files(bench, folder, window, bench.sizes.market_pairs)
    with simulated_exchange(rtt_ms=0, archive=folder) as exchange:
        yield from _one_pair(bench, exchange, folder, window)
        yield from _many_pairs(bench, exchange, folder, window)


def _one_pair(bench: Bench, exchange: Exchange, folder: Path, window: Window) -> Iterator[Line]:
    one = _part(folder, 1)
    pair = Window(window.market, window.first.isoformat(), window.days, pair_name(0))

    def engine() -> Run:
        return bench.engine_from(pair, exchange.url, source="archive")

    engine()
    ours, floor = alternating(bench.sizes.rounds, engine, lambda: _floor(bench, one, pair, 1, 1))
    what = f"1 pair, {window.days} days: engine, work without imports"
    yield compared(what, work, ours, floor, "floor in one process", goal=1.30)


def _many_pairs(bench: Bench, exchange: Exchange, folder: Path, window: Window) -> Iterator[Line]:
    pairs, cores = bench.sizes.market_pairs, os.cpu_count() or 1
    few = _load(bench, exchange, window, min(_FEW, pairs))
    server: list[float] = []

    def load() -> Run:
        before = exchange.cpu_s()
        run = _load(bench, exchange, window, pairs)
        server.append(exchange.cpu_s() - before)
        return run

    sides = load, lambda: _floor(bench, folder / _FOLDER, window, pairs, cores)
    ours, floor = alternating(1, *sides)
    what, days = f"{pairs} pairs, {window.days} days", pairs * window.days
    rate = days / ours[0].wall_s
    note = (
        f"{rate:.0f} days a second, {rate / cores:.0f} for each of {cores} cores; the exchange beside it took "
        f"{server[0]:.1f} s of CPU, {server[0] / days * 1000:.2f} ms a day, the load {cpu(ours[0]) / days * 1000:.2f}"
    )
    of_floor = Spread((floor[0].facts["cpu_seconds"],))
    ratio = Spread((cpu(ours[0]) / of_floor.median,))
    yield Line(f"{what}: CPU", Unit.SECONDS, Spread((cpu(ours[0]),)), of_floor, "floor", ratio, 1.50, note=note)
    yield compared(f"{what}: time", wall, ours, floor, "floor in as many processes as cores")
    memory, of_few = ours[0].seen_peak_rss_bytes, few.seen_peak_rss_bytes
    ratio = Spread((memory / of_few,))
    sizes = Spread((float(memory),)), Spread((float(of_few),))
    yield Line(f"{what}: memory of all processes", Unit.BYTES, *sizes, f"{_FEW} pairs", ratio, 1.30)
    singles_s = _singles(bench, exchange, window, pairs)
    ratio = Spread((ours[0].wall_s / singles_s,))
    single = f"single commands, {_SINGLES_AT_ONCE} at a time"
    yield Line(f"{what}: time", Unit.SECONDS, Spread((ours[0].wall_s,)), Spread((singles_s,)), single, ratio, 0.60)


def make_files(bench: Bench, folder: Path, window: Window, pairs: int) -> None:
    """The window's files of BTC/USDT under the names of so many pairs: links to one file each, and own checksums."""
    bench.exchange.warm(window)
    for number in range(pairs):
        (folder / _FOLDER / _symbol(number) / "1m").mkdir(parents=True)

    def make(day: int) -> None:
        on = window.first + timedelta(day)
        content = bench.exchange.get(f"/{_FOLDER}/BTCUSDT/1m/BTCUSDT-1m-{on}.zip")
        sha256, first = hashlib.sha256(content).hexdigest(), folder / f"{on}.zip"
        first.write_bytes(content)
        for number in range(pairs):
            name = f"{_symbol(number)}-1m-{on}.zip"
            path = folder / _FOLDER / _symbol(number) / "1m" / name
            path.hardlink_to(first)
            path.with_name(f"{name}.CHECKSUM").write_text(f"{sha256}  {name}\n", encoding="ascii")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(window.days)))


def _part(folder: Path, pairs: int) -> Path:
    """A folder with the files of so many pairs."""
    part = folder / "part"
    for number in range(pairs):
        target = part / _symbol(number) / "1m"
        target.mkdir(parents=True)
        for path in (folder / _FOLDER / _symbol(number) / "1m").glob("*.zip"):
            (target / path.name).hardlink_to(path)
    return part


def _load(bench: Bench, exchange: Exchange, window: Window, pairs: int, first: int = 0) -> Run:
    named = [word for number in range(first, first + pairs) for word in ("--pair", pair_name(number))]
    root = bench.new_root()
    arguments = ["-m", "market_data_pipeline", "--market", "spot", *named, "backfill", *window.bounds]
    command = [*arguments, "--source", "archive"]
    run = python(*command, root=root, url=exchange.url, checkout=bench.checkout, with_children=True)
    bench.say(f"{pairs} pairs, {window.days} days: {run.wall_s:.1f} s, CPU {run.cpu_s:.1f} s")
    return run


def _singles(bench: Bench, exchange: Exchange, window: Window, pairs: int) -> float:
    """Seconds that a command for each pair takes, some at a time."""
    with ThreadPoolExecutor(_SINGLES_AT_ONCE) as pool:
        began = time.perf_counter()
        list(pool.map(lambda number: _load(bench, exchange, window, 1, number), range(pairs)))
        return time.perf_counter() - began


def _floor(bench: Bench, files: Path, window: Window, pairs: int, processes: int) -> Run:
    arguments = ["--files", str(files), "--root", str(bench.new_root()), "--processes", str(processes)]
    run = python("-m", "benchmarks.measured.floor", *arguments, root=bench.folder)
    if run.facts["rows"] != window.rows * pairs:
        raise BenchmarkFailed(f"the floor had {run.facts['rows']} rows, not {window.rows * pairs}")
    return Run(run.facts["seconds_of_work"], run.cpu_s, run.seen_peak_rss_bytes, run.output)


def pair_name(number: int) -> str:
    """The pair of this number, of those that `make_files` makes files of."""
    return f"P{number:02d}/USDT"


def _symbol(number: int) -> str:
    return pair_name(number).replace("/", "")
