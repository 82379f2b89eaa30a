"""Whether a load could start now, and whether what is live is current.

Belongs here: a handful of quick looks, each with its own verdict; none changes anything. Does not belong here: whether
the data is good (`verify`).
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from market_data_pipeline.app.targets import Target
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.freshness import freshness
from market_data_pipeline.core.store.atomic import require_writable
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.settings import Settings

_LEAST_FREE_BYTES = 1_000_000_000
_MOST_CLOCK_ERROR_MS = 30_000


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def look_after(settings: Settings, target: Target) -> list[Sign]:
    """Look at the data root, the disk, the datasets, the Dagster instance and the exchange."""
    return [
        *_root(settings),
        _datasets(settings),
        _instance(settings),
        *_exchange(settings, target),
        *_live(settings),
    ]


def _root(settings: Settings) -> Iterator[Sign]:
    existing = next(path for path in (settings.root, *settings.root.parents) if path.exists())
    try:
        require_writable(existing)
        yield Sign("data root", ok=True, detail=str(settings.root))
    except MarketDataError as error:
        yield Sign("data root", ok=False, detail=str(error))
    free = shutil.disk_usage(existing).free
    yield Sign("disk", ok=free >= _LEAST_FREE_BYTES, detail=f"{free / 1e9:.1f} GB free")


def _datasets(settings: Settings) -> Sign:
    try:
        found = list(store_of(settings).datasets())
    except MarketDataError as error:
        return Sign("datasets", ok=False, detail=str(error))
    return Sign("datasets", ok=True, detail=", ".join(dataset.name for dataset in found) or "none yet")


def _live(settings: Settings) -> Iterator[Sign]:
    """How far each dataset that is marked live is behind the exchange."""
    store = store_of(settings)
    for path in store.dataset_files():
        try:
            dataset = read_dataset(path)
            if dataset.live:
                with closing(opener_of(settings)(dataset.market, dataset.pair)) as source:
                    fresh = freshness(store.open(dataset), source)
                yield Sign("live", ok=fresh.ok, detail=f"{dataset.name} {fresh.detail}")
        except MarketDataError as error:
            yield Sign("live", ok=False, detail=str(error))


def _instance(settings: Settings) -> Sign:
    configured = Path(settings.home / "dagster.yaml").exists()
    return Sign(
        "dagster", ok=True, detail=str(settings.home) if configured else f"{settings.home}, made at the first load"
    )


def _exchange(settings: Settings, target: Target) -> Iterator[Sign]:
    try:
        with closing(opener_of(settings)(target.market, target.pair)) as source:
            now_ms = source.now_ms()
            off_ms = now_ms - round(time.time() * 1000)
            life = source.life()
            usage = source.usage()
    except MarketDataError as error:
        yield Sign("exchange", ok=False, detail=str(error))
        return
    yield Sign("exchange", ok=True, detail=f"{target.market} {target.pair} since {iso(life.first_open_ms)}")
    yield Sign("clock", ok=abs(off_ms) <= _MOST_CLOCK_ERROR_MS, detail=f"{abs(off_ms)} ms off the exchange's")
    yield Sign("weight", ok=True, detail=f"{usage.used} of {usage.limit} used in this minute")
