"""Many pairs on several hosts, each with an address of its own, against one of them.

Belongs here: hosts. Does not belong here: many pairs on one machine from the archive (`market`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from benchmarks.bench import Bench, rows_listed
from benchmarks.databases import SERVER, configure, new_database
from benchmarks.exchange import Exchange, Window, simulated_exchange
from benchmarks.processes import PROJECT, BenchmarkFailed, NotHere, Spread, environment
from benchmarks.results import Line, Unit
from market_data_pipeline_tests.hosts import Host, Network, NoHosts, network

_HOSTS = 3
_GOAL = 0.4
_LONGEST_RUN_S = 1800


def hosts(bench: Bench) -> Iterator[Line]:
    """Futures pairs from REST: three hosts with an address each, which share the pairs, against one that loads all.

    The hosts are network namespaces of this machine. Each runs one `market-data backfill` of its pairs, with a Dagster
    home of its own; data root, Dagster's Postgres and its table of budgets are common. The exchange limits each address
    to 2400 a minute, and refuses nothing, or the benchmark fails. Each side begins with a minute of the exchange, and
    its time is that from the first start to the last end. Needs root on Linux, and the Postgres server that
    MARKET_DATA_TEST_POSTGRES names.
    """
    if not (server := os.environ.get(SERVER)):
        raise NotHere(f"hosts share a Postgres; set {SERVER} to the URL of a server")
    window = bench.window("futures", bench.sizes.host_days)
    pairs = [f"SIM{number:02}/USDT" for number in range(1, bench.sizes.host_pairs + 1)]
    with ExitStack() as stack:
        try:
            net = stack.enter_context(network(_HOSTS))
        except NoHosts as error:
            raise NotHere(str(error)) from error
        exchange = stack.enter_context(simulated_exchange(host=net.address))
        sides = [
            _load(bench, net, exchange, window, pairs, net.hosts[:count], stack.enter_context(new_database(server)))
            for count in (1, _HOSTS)
        ]
        used = exchange.stats()["futures"]["addresses"]
    (one, one_weight), (three, three_weight) = sides
    floor_s = window.floor_s * len(pairs)
    note = (
        f"weight {one_weight:,} and {three_weight:,}, of which the limit grants 2400 a minute: {floor_s:.0f} s for one "
        f"address, {floor_s / _HOSTS:.0f} s for {_HOSTS}; most in a minute of an address: "
        f"{max(each['peak_weight_1m'] for each in used.values())}; no answer 429"
    )
    what = f"{len(pairs)} pairs, {window.days} days: {_HOSTS} hosts"
    ratio = Spread((three / one,))
    yield Line(what, Unit.SECONDS, Spread((three,)), Spread((one,)), "one host", ratio, _GOAL, note=note)


def _load(
    bench: Bench,
    net: Network,
    exchange: Exchange,
    window: Window,
    pairs: Sequence[str],
    on: Sequence[Host],
    database: str,
) -> tuple[float, int]:
    """Load the pairs on the hosts into a fresh data root; the seconds, and the weight."""
    root, server = bench.new_root(), sa.make_url(database)
    port = net.way_to(server.port or 5432)
    url = server.set(host=net.address, port=port).render_as_string(hide_password=False)
    for host in on:
        configure(_home(root, host), url)
    exchange.await_minute()
    with ExitStack() as stack, exchange.watched(window.market) as cost:
        began = time.perf_counter()
        processes = [
            stack.enter_context(_started(root, net, host, exchange.url, window, pairs[number :: len(on)]))
            for number, host in enumerate(on)
        ]
        for process in processes:
            output, errors = process.communicate(timeout=_LONGEST_RUN_S)
            if process.returncode:
                raise BenchmarkFailed(f"a host ended with {process.returncode}:\n{output[-2000:]}{errors[-4000:]}")
        seconds = time.perf_counter() - began
    if (rows := rows_listed(root / "data")) != window.rows * len(pairs):
        raise BenchmarkFailed(f"{len(on)} hosts stored {rows} rows, not {window.rows * len(pairs)}")
    bench.say(f"{len(on)} hosts, {len(pairs)} pairs: {seconds:.1f} s, weight {cost['weight']}")
    return seconds, cost["weight"]


def _home(root: Path, host: Host) -> Path:
    return root / host.name


def _started(
    root: Path, net: Network, host: Host, url: str, window: Window, pairs: Sequence[str]
) -> "subprocess.Popen[str]":
    """`market-data backfill` of the pairs on the host."""
    named = [word for pair in pairs for word in ("--pair", pair)]
    arguments = ["--market", window.market, *named, "backfill", "--source", "rest", *window.bounds]
    home = _home(root, host)
    own = {
        "DAGSTER_HOME": str(home),
        "LOG_DIR": str(home / "logs"),
        "XDG_STATE_HOME": str(home / "state"),
        "MARKET_DATA_EGRESS": host.name,
    }
    return subprocess.Popen(
        [*host.under, sys.executable, "-m", "market_data_pipeline", *arguments],
        cwd=PROJECT,
        env=environment(root / "data", url) | {"PYTHONPATH": str(PROJECT)} | net.environment | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
