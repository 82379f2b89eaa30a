"""Benchmark of many pairs in one table.

Belongs here: panel. Does not belong here: the work itself (`measured.panels`, one job per process).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.exchange import Window
from benchmarks.processes import BenchmarkFailed, Run, alternating, peak, python, wall, work
from benchmarks.results import Line, compared


def panel(bench: Bench) -> Iterator[Line]:
    """Closes of many futures pairs as one pandas frame: `open_panel` against the loops that users write, in turns.

    The loop: for each pair `pandas.read_parquet` of each day's file, `concat`, `set_index`, then all pairs side by side
    with `concat(axis=1)`. Beside it the same loop of users who give `columns=["open_time", "close"]`. Both trust every
    file; the panel compares each one's sha256 with the manifest. Judged without interpreter start and imports. All
    files are in the system's cache. The pairs have one pair's days with other prices. The reader uses both cores, the
    loops one, so what else runs on the machine counts against the reader: with one core it takes half as long again.
    """
    window = bench.window("futures", bench.sizes.panel_days)
    root = bench.new_root()
    bench.engine(window, root, source="auto")
    _job(bench, "make", root, window)
    sides = [partial(_job, bench, name, root, window) for name in ("panel", "loop", "loop-of-columns")]
    for side in sides:
        side()
    ours, loop, of_columns = alternating(bench.sizes.rounds, *sides)
    what = f"closes of {bench.sizes.panel_pairs} pairs, {window.days} days"
    yield compared(f"{what}: work without imports", work, ours, loop, "loop of read_parquet", goal=0.25)
    yield compared(f"{what}: work without imports", work, ours, of_columns, "loop with columns")
    yield compared(f"{what}: whole process", wall, ours, loop, "loop of read_parquet")
    result = f"the frame itself has {bench.sizes.panel_pairs * window.minutes * 8 / 1e6:.0f} MB"
    yield compared(f"{what}: peak memory", peak, ours, loop, "loop of read_parquet", note=result)


def _job(bench: Bench, job: str, root: Path, window: Window) -> Run:
    pairs = bench.sizes.panel_pairs
    arguments = [job, "--market", window.market, "--root", str(root), "--pairs", str(pairs)]
    run = python("-m", "benchmarks.measured.panels", *arguments, root=root)
    expected = window.rows * (pairs - 1) if job == "make" else window.rows
    if run.facts["rows"] != expected or run.facts.get("values", 0) not in (0, window.rows * pairs):
        raise BenchmarkFailed(f"{job} had other klines than it should have: {run.facts}")
    bench.say(f"{job}, {pairs} pairs: {run.wall_s:.2f} s, work {work(run):.2f} s")
    return run
