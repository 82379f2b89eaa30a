"""Locks that are held: who follows which dataset in live mode, who loads which, whether `up` runs.

Belongs here: finding them, and the processes of this machine that hold them. Does not belong here: what a lock protects
(`core.store.note_lock`, `core.live.rights`, `services.lock`).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from market_data_pipeline.app.doctor.lines import Line
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.disk.waiting import Holder, holders
from market_data_pipeline.core.store.note_lock import LoadLocks, NoteLock
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.home import UP_LOCK
from market_data_pipeline.settings import Settings

SECTION = "locks"
LATE = "run it again, or look at fewer datasets; a store that lets everything wait is told of under places"
_Load = tuple[Dataset, StorePath, Span]


def locks(settings: Settings) -> Iterator[Line]:
    """A line for each lock that is held, then how many datasets were looked at."""
    if holder := NoteLock(settings.home, UP_LOCK, "").held_by():
        yield Line(SECTION, "up", holder)
    store, loads, count = store_of(settings), list[_Load](), 0
    for dataset, follower, found in _of_datasets(store):
        count += 1
        if follower:
            yield Line(SECTION, f"live {dataset.name}", follower)
        loads += [(dataset, path, window) for path, window in found]
    loaders = _loaders(path for _, path, _ in loads) if loads else {}
    for dataset, path, window in loads:
        minutes = f"{iso(window.start_ms)} to {iso(window.end_ms)}"
        yield Line(SECTION, f"load {dataset.name}", f"{minutes}, {loaders.get(str(path)) or _since(path)}")
    yield Line(SECTION, "datasets", f"{count_text(len(loads), 'load')} under way in {count_text(count, 'dataset')}")


def _of_datasets(store: Store) -> Iterator[tuple[Dataset, str | None, list[tuple[StorePath, Span]]]]:
    """Each dataset, who follows it, and its loads; damaged ones are left out, as `health` and `verify` name them."""

    def look(path: StorePath) -> tuple[Dataset, str | None, list[tuple[StorePath, Span]]] | None:
        with suppress(MarketDataError, OSError):
            dataset, folder = store.read(path), path.parent
            follower = NoteLock(folder, layout.LIVE_LOCK, "").held_by()
            return dataset, follower, list(LoadLocks(folder / layout.LOADING).held())
        return None

    yield from filter(None, in_order(look, store.dataset_files(), threads=store.most_at_once))


def _since(path: StorePath) -> str:
    """When the lock was written last, as all that is known of its holder."""
    try:
        version = storage_of(path).version(path)
    except OSError:
        version = None
    at = f" since {iso(version.modified_ns // 1_000_000)}" if version else ""
    return f"by another process{at}"


def _loaders(paths: Iterable[StorePath]) -> Mapping[str, str]:
    """Which processes of this machine have these lock files open, and since when they run, as far as can be seen."""
    found = holders([path for path in paths if isinstance(path, Path)])
    return {str(path): _holder_text(holder) for path, holder in found.items()}


def _holder_text(holder: Holder) -> str:
    stopped = ", which is stopped" if holder.is_stopped else ""
    return f"by process {holder.pid}, since {iso(round(holder.since_s * 1000))}{stopped}"
