"""Live mode: how soon klines are on disk, and what a minute costs.

Belongs here: what is measured, and its goal. Does not belong here: the ticks themselves (`measured.live_minutes`).
"""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.exchange import simulated_exchange
from benchmarks.processes import Spread, python
from benchmarks.results import Line, Unit


def live(bench: Bench) -> Iterator[Line]:
    """Datasets of one market followed for some minutes by one process, today's chunk of each being written anew.

    The exchange is a process on the same machine that answers at once, or after 150 ms. A kline counts as on disk when
    its chunk has been renamed; the exchange hears the first question 0.3 s after the minute's end, which is in the
    number. Local work is the CPU time of the process over all updates of a tick: asking, parsing, rules, encoding,
    writing.
    """
    for rtt_ms in (0, 150):
        with simulated_exchange(rtt_ms=rtt_ms) as exchange:
            what = f"{bench.sizes.live_pairs} futures pairs, {rtt_ms} ms away"
            yield from _followed(bench, what, exchange.url, bench.sizes.live_pairs)


def _followed(bench: Bench, what: str, url: str, pairs: int) -> Iterator[Line]:
    options = ["--pairs", f"{pairs}", "--minutes", f"{bench.sizes.live_minutes}", "--url", url]
    root = bench.new_root()
    run = python(
        "-m",
        "benchmarks.measured.live_minutes",
        "--market",
        "futures",
        *options,
        "--root",
        str(root),
        root=bench.folder,
    )
    late = [each[max(0, round(len(each) * 0.95) - 1)] for each in run.facts["late_s"]]
    yield Line(
        f"{what}: on disk after the minute's end, p95", Unit.SECONDS, Spread(tuple(late)), None, "", None, 1.0, True
    )
    ticks, work = Spread(tuple(run.facts["ticks_s"])), Spread(tuple(run.facts["cpu_s"]))
    yield Line(f"{what}: the tick", Unit.SECONDS, ticks, None, "", None, 20, True)
    yield Line(f"{what}: local work per update and pair", Unit.SECONDS, work, None, "", None, 0.020, True)
