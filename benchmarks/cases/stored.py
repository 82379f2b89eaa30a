"""Benchmarks of a store that is loaded already: its size, `verify`, `combine`.

Belongs here: size, verify. Does not belong here: the work itself (`measured.store_jobs`, one job per process).
"""

import os
import re
from collections.abc import Iterator
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.exchange import Window, simulated_exchange
from benchmarks.processes import PROJECT, Run, Spread, alternating, peak, wall, work
from benchmarks.results import Line, Unit, compared

_ZIP = re.compile(r"([A-Z0-9]+)USDT-1m-(\d{4}-\d{2}-\d{2})\.zip")


def size(bench: Bench) -> Iterator[Line]:
    """Bytes of our chunks against the same tables, day by day, as `pyarrow.parquet.write_table(compression="zstd")`.

    The synthetic month is spot. Real days are read where they lie, in the folder that MARKET_DATA_REAL_KLINES names or
    in ../shared/real_klines, through a second simulated exchange; without them their lines are absent.
    """
    month = bench.window("spot", bench.sizes.month_days)
    root = bench.new_root()
    loaded = bench.engine(month, root)
    yield _size(bench, f"synthetic spot BTC/USDT, {month.days} days", month, root, loaded)
    archive = Path(os.environ.get("MARKET_DATA_REAL_KLINES", PROJECT.parent / "shared" / "real_klines")) / "archive"
    if not archive.is_dir():
        bench.say(f"no real klines in {archive}")
        return
    with simulated_exchange(rtt_ms=0, archive=archive) as exchange:
        for (market, pair), windows in groupby(_real(archive), key=lambda window: (window.market, window.pair)):
            window = max(windows, key=lambda each: each.days)
            root = bench.new_root()
            loaded = bench.engine_elsewhere(window, root, exchange.url)
            yield _size(bench, f"real {market} {pair}, {window.days} days from {window.first}", window, root, loaded)


def _size(bench: Bench, what: str, window: Window, root: Path, loaded: Run) -> Line:
    facts = bench.store_job("sizes", window, root, rows=loaded.facts["rows"]).facts
    ours, zstd, snappy = (Spread((facts[name],)) for name in ("chunks", "default_zstd", "default_snappy"))
    per_row = [f"{each.median / facts['rows']:.1f}" for each in (ours, zstd, snappy)]
    note = "bytes per kline: ours {}, default zstd {}, default snappy (pandas) {}".format(*per_row)
    ratio = Spread((ours.median / zstd.median,))
    return Line(what, Unit.BYTES, ours, zstd, "pyarrow's default zstd", ratio, 0.72, note=note)


def _real(archive: Path) -> Iterator[Window]:
    """The longest stretches of whole days that the archive has of each pair."""
    for market, folder in (("spot", "spot"), ("futures", "futures/um")):
        for pair in sorted((archive / "data" / folder / "daily" / "klines").glob("*USDT/1m")):
            found = sorted(match.groups() for file in pair.iterdir() if (match := _ZIP.fullmatch(file.name)))
            days = [date.fromisoformat(day).toordinal() for _, day in found]
            for _, stretch in groupby(enumerate(days), key=lambda numbered: numbered[1] - numbered[0]):
                ordinals = [day for _, day in stretch]
                first = date.fromordinal(ordinals[0]).isoformat()
                yield Window(market, first, len(ordinals), f"{found[0][0]}/USDT")


def verify(bench: Bench) -> Iterator[Line]:
    """Proving a store of futures from 2019-10-01, and combining a year of futures; each job a process, in turns.

    `verify` is judged without imports, against the least that any proof has to do with the same chunks: read, sha256,
    decode. What it does on top is the rules of a kline, the manifest, coverage with reasons, pandera (imported before
    the stopwatch starts), and implausible values. Beside it: against that least with the rules of a kline in numpy
    by hand. `combine` is judged as a whole process against pandas (read each chunk, concat, to_parquet). The commands
    have Dagster and their start-up on top.
    """
    whole, root, rounds = bench.whole, bench.whole_root, bench.sizes.store_rounds

    def job(name: str) -> Run:
        return bench.store_job(name, whole, root)

    names = ("verify", "floor", "floor-with-rules")
    sides = [partial(job, name) for name in names]
    for side in sides:
        side()
    command = ("--market", "futures", "verify")
    ours, bare, rules, commands = alternating(rounds, *sides, lambda: bench.command(*command, root=root))
    what, shown = f"verify, {whole.days} days: work without imports", "read + sha256 + decode"
    yield compared(what, work, ours, bare, shown, goal=1.60)
    yield compared(what, work, ours, rules, f"{shown} + numpy rules")
    yield compared("market-data verify, whole process", wall, commands, bare, shown)
    yield from _combine(bench)


def _combine(bench: Bench) -> Iterator[Line]:
    year, root, rounds = bench.year, bench.year_root, bench.sizes.store_rounds
    target = next(root.glob("*/*/1m")) / "combined"

    def command() -> Run:
        for file in target.glob("*"):
            file.unlink()
        return bench.command("--market", "futures", "combine", root=root)

    def job(name: str) -> Run:
        return bench.store_job(name, year, root)

    command()
    ours, others, commands = alternating(rounds, lambda: job("combine"), lambda: job("concat"), command)
    note = f"size {ours[0].facts['bytes'] / others[0].facts['bytes']:.2f}x of pandas' file"
    what = f"combine, {year.days} days"
    yield compared(f"{what}: whole process", wall, ours, others, "pandas", goal=0.55, note=note)
    yield compared(f"{what}: work without imports", work, ours, others, "pandas")
    yield compared(f"{what}: peak memory", peak, ours, others, "pandas")
    yield compared("market-data combine, whole process", wall, commands, others, "pandas")
