"""Small loads from an exchange that commits one hostile fault, and what must be true after each of them.

Belongs here: a case, its two loads (with the fault and without), what may be stored. Does not belong here: which cases
there are (`test_hostile_rest`, `test_hostile_archive`), the faults (`simulator.hostile`).

A load with the fault ends in time, by itself or by an error of one line. It stores no row that the exchange does not
have, and calls no minute an outage or an end of the pair. The same load without the fault is whole. Where a minute was
`malformed`, because the one source that was asked had that row each time, the load has to ask for it again.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.resolve import dataset_of, resolve
from market_data_pipeline.core.loading.window import reachable
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.simulator.scenarios import scenario_exchange
from market_data_pipeline_tests.support import budget_in, span

# Beside pairs that trade, one of each market that has ended: of such a pair exchangeInfo is asked for its status.
ENDED = {"first": "2024-05-01T00:00Z", "last": "2024-05-02T09:59Z"}
SCENARIO: dict[str, Any] = {
    "now": "2024-05-04T12:00Z",
    "spot": {"OLDUSDT": {**ENDED, "status": "BREAK"}},
    "futures": {"OLDUSDT": {**ENDED, "status": "SETTLING", "deliveryDate": "2024-05-02T10:00Z"}},
}
HOUR = span("2024-05-02T08:00", "2024-05-02T09:00")
DAY = span("2024-05-02", "2024-05-03")
PATIENCE_S, DEADLINE_S = 1.0, 0.6
# On a machine that is busy; most loads take two seconds.
LONGEST_LOAD_S = 45
# With more, a slow machine meets the deadline of requests that have no fault, and their retries keep it busy.
_THREADS = 6
_FALSE_KINDS = {Kind.OUTAGE, Kind.SUSPENDED, Kind.DELISTED, Kind.NOT_LISTED}
_PATHS = {"spot": "/api/v3/klines", "futures": "/fapi/v1/klines"}

Row = tuple[float, ...]
Where = Callable[[RequestInfo], bool]


@dataclass(frozen=True)
class Case:
    """A fault, and the load that meets it wherever `where` is true of a request."""

    fault: str
    market: str
    of: str
    where: Where
    window: Span = HOUR
    source: str = "rest"
    pair: str = "BTC/USDT"

    @property
    def name(self) -> str:
        return f"{self.fault} of {self.of}, {self.market} {self.pair}, {self.source}"


def problems_of(cases: Iterable[Case]) -> dict[str, str]:
    """What is wrong after the loads of each case, by its name; empty if nothing is."""
    with ThreadPoolExecutor(_THREADS) as threads:
        tried = [(case, threads.submit(_try, case)) for case in cases]
        return {case.name: found for case, trial in tried if (found := trial.result())}


def _try(case: Case) -> str:
    try:
        with TemporaryDirectory() as folder:
            return "; ".join(_found(case, Path(folder)))
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"[:600]


def _found(case: Case, root: Path) -> Iterator[str]:
    with scenario_exchange(SCENARIO, weights=False) as running:
        faulty = [case.fault]
        running.exchange.hooks.append(lambda request: faulty[0] if faulty and case.where(request) else None)
        true = _truth(case.market, case.pair)
        began_s = time.monotonic()
        try:
            said = _load(case, root, "hostile", running.url)
        except MarketDataError as error:
            said = [str(error)]
        if (took_s := time.monotonic() - began_s) > LONGEST_LOAD_S:
            yield f"took {took_s:.0f} s"
        yield from (f"said {len(line)} characters, {line[:200]!r}" for line in said if not _is_one_line(line))
        yield from _false(case, root, true)
        faulty.clear()
        again = _load(case, root, "mended", running.url)
        if _doubtful(case, root):
            again = _load(case, root, "mended", running.url, refetch=True)
        yield from (f"after the fault: {line}" for line in again)
        store = _store(case, root)
        expected = [row for row in true if case.window.start_ms <= row[0] < case.window.end_ms]
        stored = [row for row in _rows(store) if case.window.start_ms <= row[0] < case.window.end_ms]
        if stored != expected:
            yield f"after the fault {len(stored)} rows are stored, not {len(expected)}"
        yield from (f"after the fault: {finding}" for finding in verify(store).errors)


def _load(case: Case, root: Path, budget: str, url: str, *, refetch: bool = False) -> list[str]:
    """Load the window; return the errors of its days."""

    def opened(market: Market, pair: str) -> KlineSource:
        limits = {"patience_s": PATIENCE_S, "deadline_s": DEADLINE_S} if budget == "hostile" else {}
        # With a budget of its own, as a person waits until a refusal is over.
        return open_source(case.source, market, pair, budget_of=budget_in(root / budget), base_url=url, **limits)

    resolved = resolve(opened, Market(case.market), case.pair, strict=True)
    with closing(resolved.source) as source:
        window = reachable(case.window, source.life(), source.now_ms(), parse_zone("UTC"))
        if window is None:
            return ["no klines in the window"]
        store = dataset_of(Store(root / "data"), resolved, zone=parse_zone("UTC"), window=window)
        return [day.error for day in backfill(store, source, window, refetch=refetch) if day.error]


def _store(case: Case, root: Path) -> DatasetStore:
    store = Store(root / "data")
    found = store.find(Market(case.market), case.pair)
    assert found, "there is no dataset"
    return store.open(found)


def _stores(case: Case, root: Path) -> list[DatasetStore]:
    return [_store(case, root)] if Store(root / "data").find(Market(case.market), case.pair) else []


def _false(case: Case, root: Path, true: list[Row]) -> Iterator[str]:
    """What is stored and not so."""
    for store in _stores(case, root):
        if invented := set(_rows(store)) - set(true):
            yield f"{len(invented)} rows are not the exchange's, such as {min(invented)}"
        for entry in store.entries.values():
            inside = [absence for absence in entry.absences if absence.span.start_ms < case.window.end_ms]
            inside = [absence for absence in inside if absence.span.end_ms > case.window.start_ms]
            in_truth = [*inside] if case.pair == "BTC/USDT" else []
            yield from (f"{absence.kind} is not so" for absence in in_truth if absence.kind in _FALSE_KINDS)


def _doubtful(case: Case, root: Path) -> bool:
    entries = [entry for store in _stores(case, root) for entry in store.entries.values()]
    return any(entry.flaws or Kind.MALFORMED in {absence.kind for absence in entry.absences} for entry in entries)


def _rows(store: DatasetStore) -> list[Row]:
    days = [store.dataset.day(key) for key in store.entries]
    return [tuple(row.values()) for day in days for row in store.read(day).klines.to_pylist()]


@cache
def _truth(market: str, pair: str) -> list[Row]:
    """The rows of the day as the exchange sends them, read without the project."""
    rows: list[Row] = []
    with scenario_exchange(SCENARIO, weights=False) as running:
        for start_ms in range(DAY.start_ms, DAY.end_ms, 480 * 60_000):
            asked = {"symbol": pair.replace("/", ""), "interval": "1m", "limit": 480, "startTime": start_ms}
            end_ms = start_ms + 480 * 60_000 - 1
            page = httpx.get(running.url + _PATHS[market], params={**asked, "endTime": end_ms}).json()
            rows += [tuple(float(value) if isinstance(value, str) else value for value in row) for row in page]
    return rows


def _is_one_line(text: str) -> bool:
    return bool(text) and len(text) <= 1000 and text.isprintable()
