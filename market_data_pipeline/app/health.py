"""Health: whether a load could start now, and whether live datasets are current.

Belongs here: a few quick checks, each of which can fail; none changes anything. Does not belong here: whether the data
is good (`app.verify`).
"""

import math
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import MarketDataError, SourceUnavailable, StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.core.live.freshness import freshness
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import clock_text, count_text, refusal_of_disk
from market_data_pipeline.instance.composition import (
    catalog_store_of,
    live_sources_of,
    market_opener_of,
    opener_of,
    store_of,
)
from market_data_pipeline.instance.home import EVENT_INDEX, INSTANCE_FILE, require_found
from market_data_pipeline.settings import Settings

LEAST_FREE_BYTES = 1_000_000_000
MOST_CLOCK_ERROR_MS = 30_000
SET_CLOCK = "set this machine's clock, best by NTP"
_MOST_NAMES = 10
_MOST_ERROR_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Sign:
    """The result of one check: its name, whether it is good, and what was seen, in one line."""

    name: str
    ok: bool
    detail: str


def check_health(settings: Settings, target: Target) -> Iterator[Sign]:
    """Check the data root, the disk, the datasets, the Dagster home, the exchange, and live datasets.

    The signs come one by one: where the exchange does not answer, the last ones take up to two minutes.
    """
    yield from _root(settings)
    yield _datasets(settings)
    yield dagster_sign(settings.home)
    yield from _exchange(settings, target)
    yield from _live(settings)


def check_health_of_many(settings: Settings, targets: Sequence[Target]) -> Iterator[Sign]:
    """The same of several pairs: one sign for all that are good, and one for each live dataset that is not."""
    yield from _root(settings)
    yield _datasets(settings, targets)
    yield dagster_sign(settings.home)
    yield from _exchange(settings, targets[0])
    yield _listed(settings, targets)
    signs = list(_live(settings, {(target.market, token_of(target.pair)) for target in targets}))
    yield from (sign for sign in signs if not sign.ok)
    if good := sum(sign.ok for sign in signs):
        yield Sign("live", ok=True, detail=f"{good} of {count_text(len(signs), 'live dataset')} are current")


def _listed(settings: Settings, targets: Sequence[Target]) -> Sign:
    """Whether the exchange, or the catalog that is stored, knows the pairs; one request."""
    market, store = targets[0].market, store_of(settings)
    try:
        known = catalog_store_of(settings, market).newest()
        ever = set() if known is None else {pair.symbol for pair in known.pairs}
        ever |= {dataset.token for dataset in _readable(store, market)}
        with market_opener_of(settings)(market) as (exchange, _):
            listed = exchange.listed()
    except MarketDataError as error:
        return Sign("pairs", ok=False, detail=str(error))
    except OSError as error:
        return Sign("pairs", ok=False, detail=refusal_of_disk(error))
    unknown = [target.pair for target in targets if token_of(target.pair) not in {*listed, *ever}]
    if unknown:
        more = f" and {len(unknown) - _MOST_NAMES} more" if len(unknown) > _MOST_NAMES else ""
        return Sign("pairs", ok=False, detail=f"{market} does not list {', '.join(unknown[:_MOST_NAMES])}{more}")
    found = (listed.get(token_of(target.pair)) for target in targets)
    trading = sum(pair is not None and pair.is_trading for pair in found)
    return Sign("pairs", ok=True, detail=f"{trading:,} of {count_text(len(targets), 'pair')} are traded on {market}")


def _readable(store: Store, market: Market) -> Iterator[Dataset]:
    for path in store.dataset_files(market):
        with suppress(MarketDataError):
            yield store.read(path)


def existing_of(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    # Below a folder that may not be looked into, Path.exists raises an error.
    return next(folder for folder in (path, *path.parents) if os.path.exists(folder))  # noqa: PTH110


def _root(settings: Settings) -> Iterator[Sign]:
    existing = existing_of(settings.folder)
    place = existing if isinstance(settings.root, Path) else settings.root
    try:
        storage_of(place).require_writable(place)
        yield Sign("data root", ok=True, detail=str(settings.root))
    except MarketDataError as error:
        yield Sign("data root", ok=False, detail=str(error))
    free = shutil.disk_usage(existing).free
    yield Sign("disk", ok=free >= LEAST_FREE_BYTES, detail=f"{free / 1e9:.1f} GB free")


def _datasets(settings: Settings, targets: Sequence[Target] | None = None) -> Sign:
    """Whether the datasets can be read; those of `targets` are counted, all are named without them."""
    try:
        datasets = list(store_of(settings).datasets())
    except MarketDataError as error:
        return Sign("datasets", ok=False, detail=str(error))
    except OSError as error:
        return Sign("datasets", ok=False, detail=refusal_of_disk(error))
    if targets is not None:
        wanted = {(target.market, token_of(target.pair)) for target in targets}
        stored = sum((dataset.market, dataset.token) in wanted for dataset in datasets)
        return Sign("datasets", ok=True, detail=f"{stored:,} of {count_text(len(targets), 'pair')} are stored")
    return Sign("datasets", ok=True, detail=", ".join(dataset.name for dataset in datasets) or "none yet")


def _live(settings: Settings, among: Collection[tuple[Market, str]] | None = None) -> Iterator[Sign]:
    """How far each dataset that is marked live is behind the exchange; of those of these markets and symbols."""
    store, live = store_of(settings), list[Dataset]()
    files = storage_of(store.root)
    try:
        paths = store.dataset_files()
    except (StoreError, OSError):  # the sign of the datasets says why
        return
    for path in paths:
        try:
            dataset = store.read(path)
        except MarketDataError as error:
            yield Sign("live", ok=False, detail=str(error))
        else:
            if among is not None and (dataset.market, dataset.token) not in among:
                continue
            live += [dataset] if dataset.live else []
            with suppress(FileNotFoundError):
                reason = files.read(path.with_name(layout.LIVE_ERROR_FILE), _MOST_ERROR_BYTES).decode(errors="replace")
                yield Sign("live", ok=False, detail=f"live mode of {dataset.name} ended ({reason}); start it again")
    yield from _lags(settings, store, live)


def live_lags(settings: Settings) -> Iterator[Sign]:
    """How far each dataset that is marked live, and can be read, is behind the exchange."""
    store = store_of(settings)
    readable = [dataset for market in Market for dataset in _readable(store, market)]
    yield from _lags(settings, store, [dataset for dataset in readable if dataset.live])


def _lags(settings: Settings, store: Store, live: Sequence[Dataset]) -> Iterator[Sign]:
    for market in Market:
        if of_market := [dataset for dataset in live if dataset.market is market]:
            yield from _live_of(settings, store, market, of_market)


def _live_of(settings: Settings, store: Store, market: Market, datasets: Sequence[Dataset]) -> Iterator[Sign]:
    """The same of one market, which is asked nothing more once it does not answer."""
    silent = None
    with closing(live_sources_of(settings, market)) as sources:
        for dataset in datasets:
            if wait := silent or _wait(sources.usage()):
                yield Sign("live", ok=False, detail=f"{dataset.name} was not checked: {wait}")
                continue
            try:
                fresh = freshness(store.open(dataset), sources.of(dataset.pair))
            except (MarketDataError, OSError) as error:
                silent = str(error) if isinstance(error, SourceUnavailable) else None
                why = refusal_of_disk(error) if isinstance(error, OSError) else error
                yield Sign("live", ok=False, detail=f"{dataset.name} was not checked: {why}")
            else:
                yield Sign("live", ok=fresh.ok, detail=f"{dataset.name}: {fresh.detail}")


def dagster_sign(home: Path) -> Sign:
    """Whether the Dagster home can be written, its settings parsed and its event log opened. Imports no Dagster."""
    try:
        require_found(home)
        FOLDER.require_writable(existing_of(home))
    except UsageError as error:
        return Sign("dagster", ok=False, detail=str(error))
    except MarketDataError:
        return Sign("dagster", ok=False, detail=f"cannot write to {home}; set DAGSTER_HOME to a folder you own")
    try:
        settings = yaml.safe_load((home / INSTANCE_FILE).read_bytes())
        if (home / EVENT_INDEX).exists():
            with closing(sqlite3.connect(f"{(home / EVENT_INDEX).as_uri()}?mode=ro", uri=True)) as index:
                index.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except FileNotFoundError:
        return Sign("dagster", ok=True, detail=f"{home}, made at the first load")
    except (OSError, yaml.YAMLError, sqlite3.Error) as error:
        reason = " ".join(str(error).split())
        return Sign("dagster", ok=False, detail=f"{home} cannot be used ({reason}); restore it, or move it away")
    if not isinstance(settings, dict | None):
        return Sign("dagster", ok=False, detail=f"{home / INSTANCE_FILE} is no mapping; restore it, or move it away")
    return Sign("dagster", ok=True, detail=str(home))


def _wait(usage: Usage) -> str | None:
    """Why a request would have to wait, None if it would not. Checks that would wait are not made: they end quickly."""
    if usage.closed_s:
        seconds = math.ceil(usage.closed_s)
        return (
            f"the exchange refuses requests from this address for {seconds} s more; stop other programs that send some"
        )
    if usage.used >= usage.limit:
        return f"{usage.used:,} of {usage.limit:,} used in this minute; a load has to wait for the next one"
    return None


def _exchange(settings: Settings, target: Target) -> Iterator[Sign]:
    try:
        with closing(opener_of(settings)(target.market, target.pair)) as source:
            if wait := _wait(source.usage()):
                yield Sign("weight", ok=False, detail=wait)
                return
            behind_ms = source.now_ms() - round(time.time() * 1000)
            life, usage = source.life(), source.usage()
    except MarketDataError as error:
        yield Sign("exchange", ok=False, detail=str(error))
        return
    yield Sign("exchange", ok=True, detail=f"{target.market} {target.pair} since {iso(life.first_open_ms)}")
    is_right = abs(behind_ms) <= MOST_CLOCK_ERROR_MS
    seen = f"this machine's is {clock_text(behind_ms)}"
    yield Sign("clock", ok=is_right, detail=seen if is_right else f"{seen}; {SET_CLOCK}")
    yield Sign("weight", ok=True, detail=f"{usage.used:,} of {usage.limit:,} used in this minute")
