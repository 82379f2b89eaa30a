"""Live mode: how soon klines are on disk, and what a minute costs.

Belongs here: what is measured, and its goal. Does not belong here: the ticks themselves (`measured.live_minutes`).
"""

import json
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.exchange import Exchange, simulated_exchange
from benchmarks.processes import Spread, python
from benchmarks.results import Line, Unit
from market_data_pipeline.core.live.journaling import FOLDED_EVERY_MINUTES


def live(bench: Bench) -> Iterator[Line]:
    """Datasets of one market followed for some minutes by one process.

    The exchange is a process on the same machine that answers at once, or after 150 ms; its own CPU is in the notes. A
    kline counts as on disk when its update says so: the journal is synced. From then on readers see it. The exchange
    hears the first question 0.3 s after the minute's end, which is in the number. Local work is the CPU time of the
    process over a minute: asking, parsing, rules, the journal, and the chunks whose turn it is. Bytes are what the
    process had written to disk, as Linux counts it, with chunks of half a day instead of those of the time of day, and
    with a sixtieth of what noting the requested minutes writes, which happens once an hour.
    """
    scenario = bench.folder / "pairs.json"
    pairs = range(1, max(bench.sizes.live_pairs) + 1)
    scenario.write_text(
        json.dumps({"spot": {"BTCUSDT": {}}, "futures": {f"SIM{n:03}USDT": {} for n in pairs} | {"BTCUSDT": {}}})
    )
    for count in bench.sizes.live_pairs:
        for rtt_ms in (0, 150):
            with simulated_exchange(rtt_ms=rtt_ms, scenario=scenario) as exchange:
                yield from _followed(bench, f"{count} futures pairs, {rtt_ms} ms away", exchange, count)


def _followed(bench: Bench, what: str, exchange: Exchange, pairs: int) -> Iterator[Line]:
    options = ["--pairs", f"{pairs}", "--minutes", f"{bench.sizes.live_minutes}", "--url", exchange.url]
    root, before_s = bench.new_root(), exchange.cpu_s()
    run = python(
        "-m",
        "benchmarks.measured.live_minutes",
        "--market",
        "futures",
        *options,
        "--root",
        str(root),
        root=bench.folder,
        checkout=bench.checkout,
    )
    facts = run.facts
    served = (exchange.cpu_s() - before_s) / run.wall_s
    late = [each[max(0, round(len(each) * 0.95) - 1)] for each in facts["late_s"]]
    yield Line(
        f"{what}: on disk after the minute's end, p95", Unit.SECONDS, Spread(tuple(late)), None, "", None, 1.0, True
    )
    of = {name: Spread(tuple(facts[name])) for name in ("ticks_s", "cpu_s", "written_bytes")}
    note = f"the exchange took {served:.2f} of a core"
    yield Line(f"{what}: the tick", Unit.SECONDS, of["ticks_s"], None, "", None, 20, True, note)
    yield Line(f"{what}: local work per pair and minute", Unit.SECONDS, of["cpu_s"], None, "", None, 0.002, True)
    measured = sum(facts["written_bytes"]) / len(facts["written_bytes"])
    had, has, noted = (Unit.BYTES.show(facts[name]) for name in ("chunk_bytes", "mean_bytes", "noted_bytes"))
    note = f"{Unit.BYTES.show(measured)} with chunks of {had}; that of half a day has {has}; noting wrote {noted}"
    others = (facts["mean_bytes"] - facts["chunk_bytes"]) / FOLDED_EVERY_MINUTES + facts["noted_bytes"] / 60
    written = Spread((measured + others,))
    yield Line(f"{what}: written per pair and minute", Unit.BYTES, written, None, "", None, 4096, True, note)
