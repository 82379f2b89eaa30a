"""Keeps Dagster's code location to the datasets of the data root.

Belongs here: noticing that they differ, and when it is time to reload. Does not belong here: GraphQL
(`api.dagster_client`), what is defined for a dataset (`defs.location`).
Dagster reads which datasets there are when it loads the code location. Commands and other programs create datasets
beside it, and tell nobody.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from market_data_pipeline.core.errors import StoreError, StoreUnavailable, Unavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version
from market_data_pipeline.instance.names import KLINES, asset_path

_LOOK_EVERY_S = 5.0
# Loading a thousand datasets takes a core for seconds, so that a command that creates many is not followed one by one.
_REST_TIMES = 10
_log = logging.getLogger(__name__)


class Dagster(Protocol):
    """What is asked of the Dagster webserver."""

    def dataset_roots(self) -> set[str]:
        """The `exchange_id/PAIR_TOKEN` of each dataset in the code location."""

    def has_assets(self, assets: Sequence[tuple[Sequence[str], str]]) -> bool:
        """Whether the code location has all assets, each with this day as its first partition."""

    def has_backfill(self) -> bool:
        """Whether a backfill of the UI goes on."""

    def reload(self) -> None:
        """Reload the code location."""


@dataclass(frozen=True, slots=True)
class _Defined:
    """What the definitions of a dataset depend on; nothing of a file that cannot be read."""

    root: str = ""
    pair: str = ""
    zone: str = ""
    start: str = ""


class CodeLocation:
    """The code location of a data root, as Dagster has loaded it. Threads may share it."""

    def __init__(self, store: Store, dagster: Dagster) -> None:
        """Read no file and send no request yet."""
        self._store, self._dagster = store, dagster
        self._lock = threading.Lock()
        self._read: dict[StorePath, tuple[Version | None, _Defined]] = {}
        self._loaded: Mapping[StorePath, _Defined] | None = None

    def require(self, *datasets: Dataset) -> None:
        """Reload the code location if it lacks one of them: one that is new, or whose first day is another since.

        Raises:
            Unavailable: no response, or the code location cannot be loaded.
        """
        if not self._dagster.has_assets([(asset_path(each, KLINES), each.start.isoformat()) for each in datasets]):
            with self._lock:
                self._reload(self._present())

    def look(self) -> None:
        """Reload the code location if datasets came, went or moved their first day since it was loaded.

        The default dataset is defined before it is stored, with days from before its pair was listed. Dagster cancels a
        backfill of such days when they go, so they stay until its backfills have ended.

        Raises:
            Unavailable: no response, or the code location cannot be loaded.
        """
        with self._lock:
            present = self._present()
            if present == self._loaded:
                return
            defined = self._dagster.dataset_roots()
            if self._loaded is None and _roots(present) <= defined:
                self._loaded = present
            elif not (self._stores_default(present, defined) and self._dagster.has_backfill()):
                self._reload(present)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Look every five seconds while the block runs."""
        ended = threading.Event()
        threading.Thread(target=self._follow, args=(ended,), name="code location", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _follow(self, ended: threading.Event) -> None:
        rest_s = _LOOK_EVERY_S
        while not ended.wait(rest_s):
            began_s = time.monotonic()
            try:
                self.look()
            except (Unavailable, OSError) as error:  # there may be no webserver yet; it is asked again
                _log.info("the code location was not reloaded: %s", error)
            rest_s = max(_LOOK_EVERY_S, _REST_TIMES * (time.monotonic() - began_s))

    def _stores_default(self, present: Mapping[StorePath, _Defined], defined: Set[str]) -> bool:
        """Whether a dataset is new in the store, and was defined all the same."""
        return self._loaded is not None and bool((_roots(present) - _roots(self._loaded)) & defined)

    def _reload(self, present: Mapping[StorePath, _Defined]) -> None:
        self._dagster.reload()
        self._loaded = present

    def _present(self) -> Mapping[StorePath, _Defined]:
        """What is defined by each `dataset.json`. Those that did not change are not read again.

        One that cannot be read now defines what it did before, and is read again at the next look.
        """
        read: dict[StorePath, tuple[Version | None, _Defined]] = {}
        unread: dict[StorePath, _Defined] = {}
        for path in self._store.dataset_files():
            version, known = storage_of(path).version(path), self._read.get(path)
            if known and known[0] == version:
                read[path] = known
                continue
            try:
                read[path] = version, self._defined(path)
            except StoreUnavailable:
                unread[path] = (self._loaded or {}).get(path, _Defined())
        self._read = read
        return {path: defined for path, (_, defined) in read.items()} | unread

    def _defined(self, path: StorePath) -> _Defined:
        try:
            dataset = self._store.read(path)
        except StoreUnavailable:
            raise
        except StoreError:
            return _Defined()
        root = "/".join(asset_path(dataset, KLINES)[:2])
        return _Defined(root, dataset.pair, dataset.zone.name, dataset.start.isoformat())


def _roots(datasets: Mapping[StorePath, _Defined]) -> set[str]:
    return {defined.root for defined in datasets.values() if defined.root}
