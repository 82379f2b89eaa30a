"""The browse page: how soon a page answers on loopback, on a dataset of years, and on a thousand of them.

Belongs here: which pages are requested. Does not belong here: how they are made.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from benchmarks.bench import Bench
from benchmarks.generated import store_many
from benchmarks.processes import PROJECT, BenchmarkFailed, Spread, environment
from benchmarks.results import Line, Unit
from market_data_pipeline.services.addresses import Address, free_port

_GOAL_S, _MANY_GOAL_S = 0.100, 0.200
_TIMES = 40
_NO_DAGSTER = "http://127.0.0.1:9"


def browse(bench: Bench) -> Iterator[Line]:
    """Pages of the largest store, requested one after the other over HTTP; the first request is not counted.

    No request goes to Dagster: its runs are a part of the page that the browser loads later. Then pages of many
    datasets that have their notes (`dataset.json`, manifest) and no chunks: the first page of a new server, pages
    while it reads all manifests, and after that.
    """
    yield from _one(bench)
    yield from _many(bench)


def _one(bench: Bench) -> Iterator[Line]:
    root = bench.whole_root
    chunks = sorted(root.glob("*/*/1m/chunks/*.parquet"))
    name = chunks[len(chunks) // 2].relative_to(root).as_posix()
    pages = {
        "all datasets": "/browse",
        "the dataset": f"/browse?market={bench.whole.market}&pair={bench.whole.pair}",
        "a chunk, 100 rows and its chart": f"/browse/file?file={name}",
        "a chunk, all rows and its chart": f"/browse/file?file={name}&limit=1500",
    }
    with _served(root) as url, requests.Session() as session:
        for what, path in pages.items():
            _seconds(session, url + path)
            taken = tuple(_seconds(session, url + path) for _ in range(_TIMES))
            yield Line(f"{len(chunks)} chunks: {what}", Unit.SECONDS, Spread(taken), None, "", None, _GOAL_S, True)


def _many(bench: Bench) -> Iterator[Line]:
    root = bench.new_root()
    store_many(root, bench.sizes.datasets, bench.whole.days)
    what = f"{bench.sizes.datasets} datasets of {bench.whole.days} days"
    pages = {
        "the list": "/browse",
        "the list, sorted by size, last page": f"/browse?sort=-size&page={-(-bench.sizes.datasets // 100)}",
        "a search": "/browse?q=n01+usdt",
        "the heat map": "/browse/coverage",
    }
    with _served(root) as url, requests.Session() as session:
        first, began_s, meanwhile = _seconds(session, f"{url}/browse"), time.perf_counter(), []
        while "data-again" in session.get(f"{url}/browse", timeout=60).text:
            meanwhile += [_seconds(session, url + path) for path in pages.values()]
            time.sleep(0.5)
        bench.say(f"{what} were read in {time.perf_counter() - began_s:.1f} s")
        measured = {"the first page of a new server": [first], "pages while the server reads all": meanwhile or [first]}
        measured |= {name: [_seconds(session, url + path) for _ in range(_TIMES)] for name, path in pages.items()}
        for name, taken in measured.items():
            spread = Spread(tuple(taken))
            yield Line(f"{what}: {name}", Unit.SECONDS, spread, None, "", None, _MANY_GOAL_S, absolute=True)


def _seconds(session: requests.Session, url: str) -> float:
    began = time.perf_counter()
    answer = session.get(url, timeout=60)
    seconds = time.perf_counter() - began
    if answer.status_code != 200:
        raise BenchmarkFailed(f"{url} answered {answer.status_code}")
    return seconds


@contextmanager
def _served(root: Path) -> Iterator[str]:
    """`market-data serve` on a free port; it ends with the block."""
    address = Address("127.0.0.1", free_port())
    command = [sys.executable, "-m", "market_data_pipeline", "serve", "--port", str(address.port)]
    process = subprocess.Popen(
        [*command, "--dagster-url", _NO_DAGSTER],
        cwd=PROJECT,
        env=environment(root, None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not address.accepts_connections:
            if process.poll() is not None:
                raise BenchmarkFailed("the API did not start")
            time.sleep(0.05)
        yield address.url
    finally:
        process.terminate()
        process.wait()
