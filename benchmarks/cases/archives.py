"""Benchmarks of the archive: daily files against pages of REST, and against the loop that users write for them.

Belongs here: archive. Does not belong here: loading by REST (`loads`), the loop itself (`downloads`).
"""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.exchange import Window
from benchmarks.processes import alternating, wall, work
from benchmarks.results import Line, compared


def archive(bench: Bench) -> Iterator[Line]:
    """Closed UTC days with `--source auto`, which is the archive for them: against REST, and against a loop of users.

    First the whole command: `market-data backfill` of futures from 2022-01-01 with `--source auto` and then with
    `--source rest`, once each, on fresh data roots. REST begins with one of the exchange's minutes, as its weight limit
    takes most of its time. Before either, all daily files are requested, newest first. The exchange then holds the
    oldest, up to 150 MB of klines (about 730 days) and 32 MB of zips (about 470), and makes the others while it serves,
    in its own process on the same machine: 4 ms for a day's klines, which both sides wait for, and 4 ms for its zip.

    Then spot, by the engine alone against a script, both without interpreter start and imports, in turns; all files are
    made before. The script: 32 threads with a `requests.Session` each; of each day the zip and its .CHECKSUM, sha256
    compared, unzipped in memory, `pandas.read_csv`, at the end `pandas.concat`. It stops there. The engine asks for the
    same files and before, for two times 150 ms, for the exchange's clock and the pair's first and last kline; it checks
    every kline, and writes chunks and manifest. The same script without the .CHECKSUM files, half as many
    requests, is shown beside it.
    """
    yield _whole_command(bench)
    yield from _engine_alone(bench)


def _whole_command(bench: Bench) -> Line:
    window = Window("futures", "2022-01-01", bench.sizes.archive_days)
    # A day by each, not measured: it leaves the .pyc files behind.
    for source in ("auto", "rest"):
        bench.backfill(bench.window("futures", 1), source=source)
    bench.exchange.warm(window)
    auto = bench.backfill(window, source="auto")
    files, weight = bench.costs[-1]["files"], bench.costs[-1]["weight"]
    bench.exchange.warm(window)
    bench.exchange.await_minute()
    rest = bench.backfill(window, source="rest")
    note = f"{window.rows:,} klines; auto: {files:,} files, weight {weight}; rest: weight {bench.costs[-1]['weight']:,}"
    what = f"futures, {window.days} days: market-data backfill --source auto, whole process"
    return compared(what, wall, [auto], [rest], "--source rest", goal=1 / 3, note=note)


def _engine_alone(bench: Bench) -> Iterator[Line]:
    window, day = bench.window("spot", bench.sizes.year_days), bench.window("spot", 1)
    bench.exchange.warm(window)
    bench.engine(day, source="auto")
    bench.downloads(day)
    sides = (lambda: bench.engine(window, source="auto"), lambda: bench.downloads(window))
    engine, loop, careless = alternating(bench.sizes.rounds, *sides, lambda: bench.downloads(window, "--no-checksums"))
    what = f"spot, {window.days} days: engine with --source auto, work without imports"
    yield compared(what, work, engine, loop, "download loop", goal=1.00)
    yield compared(what, work, engine, careless, "download loop without checksums")
