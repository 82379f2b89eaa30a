"""What has to hold whatever a power cut left: promises, and the look at a data root that compares it with them.

Belongs here: what commands have told as stored, the truth of the exchange, what contradicts either. Does not belong
here: which states there are (`cuts`, `bucket`), commands (`scenarios`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.errors import MarketDataError, StoreError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.findings import COVERED, JOINED, PLAUSIBLE
from market_data_pipeline.core.klines.table import EMPTY, Bits, bits_of, open_times
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.looks import days_of, looks
from market_data_pipeline.core.proof.verify import Verification, note_looks, verify
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.core.store.storage.places import root_at
from market_data_pipeline.reader import open_dataset

MARKET = Market.SPOT


class Minutes(NamedTuple):
    """Open times, and which version of its values each one has at least."""

    times: np.ndarray
    versions: np.ndarray


@dataclass(frozen=True)
class Promise:
    """What was told to somebody, so that it has to be there after a power cut. Keys are pairs."""

    minutes: Mapping[str, Minutes] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, bool] = field(default_factory=dict)
    good: frozenset[str] = frozenset()
    """A command has ended well, so that `verify` has nothing to say."""
    combined: frozenset[str] = frozenset()
    repaired: bool = False
    snapshots: frozenset[date] = frozenset()

    def and_good(self, pairs: frozenset[str]) -> "Promise":
        """The same, and nothing is wrong with these pairs."""
        return replace(self, good=self.good | pairs)


NOTHING = Promise()


class Promises:
    """What was promised so far. Each method adds something and tells `say`."""

    def __init__(self, say: Callable[[Promise], None], so_far: Promise = NOTHING) -> None:
        self.so_far = so_far
        self._say = say

    def stored(self, pair: str, klines: pa.Table, version: int) -> None:
        """The klines of these minutes are stored, with values of this version or a later one."""
        new = open_times(klines)
        known = self.so_far.minutes.get(pair, Minutes(np.empty(0, np.int64), np.empty(0, np.int64)))
        times = np.concatenate([known.times, new])
        versions = np.concatenate([known.versions, np.full(len(new), version)])
        order = np.lexsort((versions, times))
        last = np.append(np.diff(times[order]) != 0, True)[: len(times)]
        self._add(minutes={**self.so_far.minutes, pair: Minutes(times[order][last], versions[order][last])})

    def revised(self, pair: str, by: int = 1) -> None:
        """So many revisions more are in the ledger."""
        counted = self.so_far.revisions
        self._add(revisions={**counted, pair: counted.get(pair, 0) + by})

    def begun(self, *pairs: str) -> None:
        """A command has begun that requests more than is stored."""
        self._add(good=self.so_far.good - set(pairs))

    def ended(self, *pairs: str) -> None:
        """A command has ended well."""
        self._add(good=self.so_far.good | set(pairs))

    def add(self, **changes: Any) -> None:
        """Anything else."""
        self._add(**changes)

    def _add(self, **changes: Any) -> None:
        self.so_far = replace(self.so_far, **changes)
        self._say(self.so_far)


class Truth:
    """What the exchange has said of each pair: its klines, in each version of their values."""

    def __init__(self, versions: Mapping[str, list[pa.Table]], damaged: frozenset[str] = frozenset()) -> None:
        self.versions = {pair: [bits_of(each) for each in of_pair] for pair, of_pair in versions.items()}
        self.damaged = damaged
        """Days that were damaged before the recording began."""


def problems_of(root: Any, truth: Truth, promise: Promise, *, wholly: bool = True) -> Iterator[str]:
    """What is wrong with a data root, one line each; nothing if it keeps every promise.

    Unless `wholly` is set, `verify` leaves out pandera's schema, which takes half of the time: each value is compared
    with that of the exchange anyway. Nor are damaged chunks read, which the reader tries several times.
    """
    store = Store(root_at(str(root)), manifest_interval_s=0)
    for dataset in store.datasets():
        if dataset.pair not in truth.versions:
            yield f"there is a dataset {dataset.name}"
    for pair in truth.versions:
        dataset = store.find(MARKET, pair)
        if dataset is None:
            if pair in promise.minutes:
                yield f"{pair} has no dataset any more"
            continue
        if dataset.live < promise.live.get(pair, False):
            yield f"{pair} is not marked live any more"
        files = store.open(dataset)
        proof = verify(files) if wholly else _verified(files)
        yield from _of_dataset(root, files, truth, promise, proof, reads_damaged=wholly)
    yield from _of_catalog(root, promise)


def _verified(files: DatasetStore) -> Verification:
    """As `verify`, without the schema."""
    result = Verification(files.dataset, strangers=files.strangers())
    with looks(files, days_of(files, None)) as found:
        note_looks(files, found, result, None)
    return result


def _of_dataset(
    root: Any, files: DatasetStore, truth: Truth, promise: Promise, proof: Verification, *, reads_damaged: bool
) -> Iterator[str]:
    pair, allowed = files.dataset.pair, frozenset() if promise.repaired else truth.damaged
    if files.warnings and not allowed:
        yield from files.warnings
    damaged = {finding.day for finding in proof.errors if finding.check not in {COVERED, JOINED, PLAUSIBLE}}
    wrong = [f"{finding.day}: {finding.problem}" for finding in proof.errors if finding.day not in allowed]
    if pair in promise.good:
        yield from wrong
    elif damaged - allowed:
        yield f"damaged: {wrong}"
    unreadable = [files.dataset.day(day) for day in allowed]
    read, given = _klines_read(root, files, damaged & allowed, reads_damaged=reads_damaged)
    yield from _wrong_rows(read, truth.versions[pair], promise.minutes.get(pair), unreadable)
    if given:
        yield f"the reader gives klines of damaged chunks: {given}"
    if len(files.revisions()) < promise.revisions.get(pair, 0):
        yield f"the ledger has {len(files.revisions())} of {promise.revisions[pair]} revisions"
    fine = {Agreement.EQUAL, Agreement.OLDER} | ({Agreement.ABSENT} if pair not in promise.combined else set())
    if not allowed and (combined := combined_agreement(files)).agreement not in fine:
        yield f"the combined file is {combined.agreement}: {combined.detail}"
    status_of(files)


def _klines_read(
    root: Any, files: DatasetStore, damaged: set[str], *, reads_damaged: bool
) -> tuple[pa.Table, list[str]]:
    """What the reader gives, and the damaged days of which it gives something; each is read by itself then."""
    klines = open_dataset(files.dataset.pair, market=MARKET.value, root=str(root))
    if not damaged:
        klines.absences()
        return klines.to_arrow(), []
    tables, given = [EMPTY], list[str]()
    for key in klines.days():
        day = files.dataset.day(key)
        window = [datetime.fromtimestamp(each / 1000, UTC) for each in (day.start_ms, day.end_ms)]
        if key not in damaged:
            tables.append(klines.to_arrow(*window))
        elif reads_damaged:
            with suppress(StoreError):
                klines.to_arrow(*window)
                given.append(key)
    return pa.concat_tables(tables), given


def _wrong_rows(read: pa.Table, versions: list[Bits], told: Minutes | None, unreadable: list[Any]) -> Iterator[str]:
    rows = bits_of(read)
    times = rows[:, 0]
    if (np.diff(times) <= 0).any():
        yield "the reader gives minutes twice, or not in order"
        return
    is_of = np.stack([_are_in(rows, version) for version in versions])
    if (invented := ~is_of.any(axis=0)).any():
        yield f"the reader gives {invented.sum()} klines that the exchange never had, the first at {times[invented][0]}"
    if told is None:
        return
    wanted = np.ones(len(told.times), bool)
    for day in unreadable:
        wanted &= (told.times < day.start_ms) | (told.times >= day.end_ms)
    at = np.searchsorted(times, told.times).clip(max=max(0, len(times) - 1))
    is_there = times[at] == told.times if len(times) else np.zeros(len(told.times), bool)
    if (lost := wanted & ~is_there).any():
        yield f"{lost.sum()} minutes are lost that were told as stored, the first at {told.times[lost][0]}"
    if len(times):
        new_enough = np.arange(len(versions))[:, None] >= told.versions[None, :]
        if (old := wanted & is_there & ~(is_of[:, at] & new_enough).any(axis=0)).any():
            yield f"{old.sum()} minutes have older values than was told, the first at {told.times[old][0]}"


def _are_in(rows: Bits, truth: Bits) -> np.ndarray:
    at = np.searchsorted(truth[:, 0], rows[:, 0]).clip(max=len(truth) - 1)
    return (truth[at] == rows).all(axis=1)


def _of_catalog(root: Any, promise: Promise) -> Iterator[str]:
    catalog = CatalogStore(root_at(str(root)), MARKET)
    catalog.newest()
    yield from catalog.warnings
    if lost := promise.snapshots - set(catalog.days()):
        yield f"the snapshots of {sorted(lost)} are lost"


def safely(look: Callable[[], Iterator[str]]) -> list[str]:
    """What is wrong, also where looking ends with an error."""
    try:
        return list(look())
    except MarketDataError as error:
        return [f"{type(error).__name__}: {error}"]
    except Exception as error:
        return [f"TRACEBACK {type(error).__name__}: {error}"]
