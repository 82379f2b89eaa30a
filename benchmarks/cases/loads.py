"""Benchmarks of loading: against the exchange's limit, against the loop that users write, and in memory.

Belongs here: spot-long, futures-long, naive, memory. Does not belong here: what Dagster adds (`commands`).
"""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.exchange import WEIGHT_PER_MINUTE, Window
from benchmarks.processes import Spread, alternating, peak, wall, work
from benchmarks.results import Line, Unit, compared


def spot_long(bench: Bench) -> Iterator[Line]:
    """A long spot load by the engine, from REST, against the time in which the exchange's limit grants its weight.

    Started at the beginning of one of the exchange's minutes, which is the worst moment: later, the rest of that minute
    would grant a whole budget on top. Measured is the whole process with its imports. The floor takes the budget as a
    steady flow (rows / 1000 x weight 2 at 6000 a minute); the exchange grants it at the start of each minute, so a load
    whose last minute is short can be a little faster than the floor. The klines are not warmed: the exchange makes them
    while it serves (3 ms a day, in its own process on the same machine), which counts against us.
    """
    yield from _long(bench, Window("spot", "2019-01-01", bench.sizes.spot_long_days), goal=1.10)


def futures_long(bench: Bench) -> Iterator[Line]:
    """The same for futures: the floor is 499 rows for weight 2 at 2400 a minute.

    Rows per weight, by the limit of the page: 99 for 99, 249.5 for 499, 100 for 500, 200 for 1000, 150 for 1500. The
    load spans several minutes, and the governor leaves 5 % of each to other programs.
    """
    yield from _long(bench, Window("futures", "2020-01-01", bench.sizes.futures_long_days), goal=1.15)


def _long(bench: Bench, window: Window, *, goal: float) -> Iterator[Line]:
    # One small load first: it leaves the .pyc files behind.
    bench.engine(bench.window(window.market, 1))
    bench.exchange.await_minute()
    run = bench.engine(window)
    cost, floor_s = bench.costs[-1], window.floor_s
    note = (
        f"{window.rows:,} klines, {cost['requests']:,} requests, weight {cost['weight']:,} (least possible "
        f"{window.least_weight:,}), 0 answers 429; work without imports {work(run):.1f} s, CPU "
        f"{run.facts['cpu_seconds_of_work']:.1f} s, peak memory {peak(run) / 1e6:.0f} MB"
    )
    limit = f"the floor at {WEIGHT_PER_MINUTE[window.market]} weight a minute"
    what, ratio = f"{window.market}, {window.days} days", Spread((run.wall_s / floor_s,))
    yield Line(what, Unit.SECONDS, Spread((run.wall_s,)), Spread((floor_s,)), limit, ratio, goal, note=note)


def naive(bench: Bench) -> Iterator[Line]:
    """60 days from REST against the loop that users write: ccxt's `fetch_ohlcv` page by page, pandas, `to_parquet`.

    The goal is judged by the wall time of the work without interpreter start and imports, on both sides; the whole
    processes are shown beside it. The loop keeps 6 fields of 12 and checks nothing. It runs with ccxt's own limiter and
    pages of 1000. Both sides load klines that the exchange already made. Engine, loop and command take turns, engine
    and command with `--source rest`.
    """
    for market in ("spot", "futures"):
        yield from _naive(bench, bench.window(market, bench.sizes.naive_days))


def _naive(bench: Bench, window: Window) -> Iterator[Line]:
    bench.exchange.warm(window)
    _small_first(bench, window.market)
    sides = (lambda: bench.engine(window), lambda: bench.naive(window), lambda: bench.backfill(window))
    engine, loop, command = alternating(bench.sizes.rounds, *sides)
    name, shown = f"{window.market}, {window.days} days", "naive loop"
    yield compared(f"{name}: engine, work without imports", work, engine, loop, shown, goal=0.20)
    yield compared(f"{name}: engine, whole process", wall, engine, loop, shown)
    yield compared(f"{name}: market-data backfill, whole process", wall, command, loop, shown)


def _small_first(bench: Bench, market: str) -> None:
    """A day by each side, not measured: it leaves the .pyc files behind."""
    day = bench.window(market, 1)
    bench.engine(day)
    bench.naive(day)
    bench.backfill(day)


def memory(bench: Bench) -> Iterator[Line]:
    """Peak memory of a year against that of a day: loaded by the engine (spot from REST, the larger pages), combined.

    The peak is the process's own high-water mark, imports included.
    """
    year, day = bench.window("spot", bench.sizes.year_days), bench.window("spot", 1)
    bench.exchange.warm(year)
    roots = bench.new_root(), bench.new_root()
    long, short = alternating(bench.sizes.rounds, lambda: bench.engine(year), lambda: bench.engine(day))
    yield compared(f"load of {year.days} days", peak, long, short, "1 day", goal=1.30)
    for window, root in zip((year, day), roots, strict=True):
        bench.engine(window, root)
    sides = (lambda: bench.store_job("combine", year, roots[0]), lambda: bench.store_job("combine", day, roots[1]))
    long, short = alternating(bench.sizes.rounds, *sides)
    yield compared(f"combine of {year.days} days", peak, long, short, "1 day")
