"""Dagster with many datasets that each have years of days: its database, its processes and the pages of its UI.

Belongs here: scale. Does not belong here: the browse page (`browse`), one dataset's days (`commands.bookkeeping`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import psutil
import requests

from benchmarks.bench import Bench
from benchmarks.browser import Shown, pages_of, shown, visitors
from benchmarks.databases import SERVER, configure, new_database
from benchmarks.generated import store_many
from benchmarks.measured.events import files_bytes, tables_bytes
from benchmarks.processes import PROJECT, BenchmarkFailed, Run, Spread, cpu, environment, seen_peak
from benchmarks.results import Line, Unit
from market_data_pipeline.instance.names import LOCATION, REPOSITORY
from market_data_pipeline.services.addresses import Address, free_port

_PAGE_GOAL_S, _DAEMON_GOAL_BYTES, _DAY_GOAL_BYTES, _DAY_GOAL_S = 3.0, 1e9, 4096, 0.004
_START_WITHIN_S, _END_WITHIN_S = 300, 60
_STAYS_MS = 5000
_FIRST_PAGE = "a visitor's first page"
# What is on the command line of each process of `market-data up`.
_PROCESSES = {
    "daemon": "dagster._daemon",
    "webserver": "dagster_webserver",
    "code server": "api grpc",
    "code server, its proxy": "code-server start",
    "api": "market_data_pipeline serve",
}
_START_SENSOR = """mutation($at: SensorSelector!) { startSensor(sensorSelector: $at) {
    __typename ... on Sensor { sensorState { status } } } }"""


@dataclass(frozen=True, slots=True)
class _Home:
    """A Dagster home in `root` / dagster, and the URL of its database; None if that is SQLite."""

    root: Path
    url: str | None

    @property
    def name(self) -> str:
        return "Postgres" if self.url else "SQLite"

    def event_bytes(self) -> int:
        return tables_bytes(self.url) if self.url else files_bytes(self.root / "dagster")


def scale(bench: Bench) -> Iterator[Line]:
    """Many datasets with years of days recorded, by `market-data report`, which reads manifests: chunks do not exist.

    As many processes report as there are cores, each in runs of a hundred datasets at most. Bytes are those of all
    tables with their indexes, less what an empty home has. SQLite gets a tenth of the datasets. Then `market-data up`
    serves them, with the live sensors on and no dataset live. A page is timed from the request until the words that the
    reader came for are on the screen, in headless Chromium; the first page of a visitor has nothing in its caches, and
    the visitor stays there for some seconds. Before that the same visits are made to a home with one dataset.
    Memory is resident memory after all pages, and again some minutes later. Postgres is the server that
    MARKET_DATA_TEST_POSTGRES names; without it SQLite gets all datasets, and its pages are timed.
    """
    datasets = bench.sizes.datasets
    with ExitStack() as stack:
        server = os.environ.get(SERVER)
        small, large = (
            _Home(bench.new_root(), stack.enter_context(new_database(server)) if server else None) for _ in range(2)
        )
        if server:
            yield from _recorded(bench, _Home(bench.new_root(), None), max(datasets // 10, 1))
        _first_recorded(bench, small, 1)
        yield from _recorded(bench, large, datasets)
        with _up(bench, small.root) as (url, _):
            of_one = _visited(bench, url, datasets=1)
        yield from _served(bench, large, datasets, of_one)


def _first_recorded(bench: Bench, home: _Home, datasets: int) -> None:
    """Make that many datasets, and report the first of them, which creates the tables."""
    store_many(home.root, datasets, bench.sizes.recorded_days)
    if home.url:
        configure(home.root / "dagster", home.url)
    bench.command("--market", "spot", "--pair", "N000/USDT", "report", root=home.root)


def _recorded(bench: Bench, home: _Home, datasets: int) -> Iterator[Line]:
    days = bench.sizes.recorded_days
    _first_recorded(bench, home, datasets)
    before, known, began_s = home.event_bytes(), days, time.perf_counter()
    globs = sorted({f"N{number // 100}*/USDT" for number in range(datasets)})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs: list[Run] = list(
            pool.map(lambda glob: bench.command("--market", "spot", "--pair", glob, "report", root=home.root), globs)
        )
    new, wall_s = max(datasets * days - known, 1), time.perf_counter() - began_s
    what = f"{home.name}, {datasets} datasets of {days} days"
    seconds = Spread((sum(map(cpu, runs)) / new,))
    note = f"{wall_s:.0f} s for all in {os.cpu_count()} processes, most memory of one {seen_peak(runs)}"
    yield Line(f"{what}: CPU of the command per day", Unit.SECONDS, seconds, goal=_DAY_GOAL_S, absolute=True, note=note)
    size = home.event_bytes()
    per_day = Spread(((size - before) / new,))
    note = f"{Unit.BYTES.show(size)} in all"
    yield Line(f"{what}: database per day", Unit.BYTES, per_day, goal=_DAY_GOAL_BYTES, absolute=True, note=note)


def _served(bench: Bench, home: _Home, datasets: int, of_one: Sequence[Mapping[str, Shown]]) -> Iterator[Line]:
    what = f"{home.name}, {datasets} datasets"
    began_s = time.perf_counter()
    with _up(bench, home.root) as (url, process):
        _await_location(url)
        started = Spread((time.perf_counter() - began_s,))
        yield Line(f"{what}: `up` until the UI has the code location", Unit.SECONDS, started)
        visits = _visited(bench, url, datasets=datasets)
        for name in visits[0]:
            ours, of_small = (Spread(tuple(times[name].seconds for times in each)) for each in (visits, of_one))
            ratio = Spread((ours.median / of_small.median,))
            goal = None if name == _FIRST_PAGE else _PAGE_GOAL_S
            note = f"slowest query {max((times[name] for times in visits), key=lambda one: one.seconds).slowest}"
            yield Line(
                f"{what}: {name}", Unit.SECONDS, ours, of_small, "one dataset", ratio, goal, absolute=True, note=note
            )
        seen = [_memory(process)]
        time.sleep(bench.sizes.live_minutes * 60)
        seen.append(_memory(process))
        for name in _PROCESSES:
            spread = Spread(tuple(float(each[name]) for each in seen))
            goal = _DAEMON_GOAL_BYTES if name == "daemon" else None
            yield Line(f"{what}: memory of {name}", Unit.BYTES, spread, goal=goal, absolute=goal is not None)


def _visited(bench: Bench, url: str, *, datasets: int) -> list[dict[str, Shown]]:
    """The pages as several visitors see them, one after the other."""
    _await_location(url)
    _start_sensors(url)
    days = bench.sizes.recorded_days
    last_day = (date(2020, 1, 1) + timedelta(days - 1)).isoformat()
    pages = pages_of("N000USDT", days=days, last_day=last_day, datasets=datasets, run_id=_last_run(url))
    visits = []
    with visitors(url) as visitor:
        for _ in range(bench.sizes.rounds + 1):
            with visitor() as seeing:
                first = {_FIRST_PAGE: shown(seeing, next(iter(pages.values())), stays_ms=_STAYS_MS)}
                visits.append(first | {name: shown(seeing, page) for name, page in pages.items()})
    # The first visitor fills the webserver's caches.
    return visits[1:]


@contextmanager
def _up(bench: Bench, root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`market-data up` on free ports; the URL of the UI, and the process. It ends with the block."""
    ui, log = Address("127.0.0.1", free_port()), root / "up.log"
    command = [sys.executable, "-m", "market_data_pipeline", "up"]
    ports = ["--port", str(free_port()), "--dagster-port", str(ui.port)]
    dataset = {"MARKET_TYPE": "spot", "SYMBOL": "N000/USDT"}
    with log.open("w", encoding="utf-8") as output:
        process = psutil.Popen(
            [*command, *ports],
            cwd=PROJECT,
            env={**environment(root, bench.exchange.url), **dataset},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        until = time.monotonic() + _START_WITHIN_S
        while not ui.accepts_connections:
            if process.poll() is not None or time.monotonic() > until:
                raise BenchmarkFailed(f"market-data up did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.1)
        yield ui.url, process
    finally:
        process.terminate()
        process.wait(_END_WITHIN_S)


def _ask(url: str, query: str, **variables: object) -> dict[str, object]:
    answer = requests.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    answer.raise_for_status()
    data: dict[str, object] = answer.json()["data"]
    return data


def _await_location(url: str) -> None:
    until = time.monotonic() + _START_WITHIN_S
    query = partial(_ask, url, "{ assetNodes { id } }")
    while not query()["assetNodes"]:
        if time.monotonic() > until:
            raise BenchmarkFailed("the UI did not get the code location")
        time.sleep(0.2)


def _last_run(url: str) -> str:
    runs = _ask(url, "{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }")["runsOrError"]
    return str(runs["results"][0]["runId"])  # type: ignore[index]


def _start_sensors(url: str) -> None:
    for name in ("binance_live", "binanceusdm_live"):
        at = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": name}
        if _ask(url, _START_SENSOR, at=at)["startSensor"]["__typename"] != "Sensor":  # type: ignore[index]
            raise BenchmarkFailed(f"the sensor {name} did not start")


def _memory(process: psutil.Process) -> dict[str, int]:
    """Resident bytes of each process of `up`."""
    found = dict.fromkeys(_PROCESSES, 0)
    for child in process.children(recursive=True):
        line = " ".join(child.cmdline())
        name = next((name for name, word in _PROCESSES.items() if word in line), None)
        if name:
            found[name] += child.memory_info().rss
    return found
