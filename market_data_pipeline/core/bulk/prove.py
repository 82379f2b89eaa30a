"""The nightly proof of many datasets, several at once, each in a process of its own: decoding klines needs a core.

Belongs here: the order of datasets, what a process does for one, and what it tells. Does not belong here: the processes
(`workers`), the proof of one dataset (`proof.rolling`), recording what was found (`defs`).
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from market_data_pipeline.core.bulk.cores import cores
from market_data_pipeline.core.bulk.workers import Died, stream
from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.proof.rolling import Night, Rolled, roll
from market_data_pipeline.core.store.chunks import readings
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath

_log = logging.getLogger(__name__)
# A process needs two seconds until it begins, in which this one proves some small datasets.
_FEW = 8


@dataclass(frozen=True, slots=True)
class NightWork:
    """How every dataset is proved. It goes to other processes, so all of it must be picklable.

    Attributes:
        store: the data root.
        night: when it began, and what is read.
        log: lets the process write its log lines where those of the installation are.
    """

    store: Store
    night: Night
    log: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Broken:
    """Why there is no proof of a dataset; `is_fault` is False if the store is damaged or cannot be read."""

    reason: str
    is_fault: bool


def prove_many(paths: Sequence[StorePath], work: NightWork) -> Generator[tuple[StorePath, Rolled | Broken]]:
    """Prove datasets, and yield what was found of each. One whose proof breaks changes nothing for the others.

    The dataset comes first that has the chunk which was read longest ago, so none is last each night.

    Args:
        paths: the `dataset.json` of each.
        work: how each is proved.
    """
    ordered = sorted(paths, key=lambda path: readings.read(path.parent).oldest_s)
    prove = partial(_proved, work)
    if len(ordered) <= _FEW or cores() == 1:
        for path in ordered:
            for found in prove(path):
                yield path, found
        return
    with closing(stream(prove, ordered, processes=min(cores(), len(ordered)))) as told:
        for path, said in told:
            yield path, Broken(f"the process that proved it {said.how}", True) if isinstance(said, Died) else said


def _proved(work: NightWork, path: StorePath) -> Iterator[Rolled | Broken]:
    """Prove the dataset of this `dataset.json`; maybe in a process of `prove_many`."""
    try:
        work.log()
        yield roll(work.store.open(work.store.read(path)), work.night)
    except StoreError as error:
        yield Broken(str(error), is_fault=False)
    except OSError as error:
        yield Broken(f"{error.strerror or type(error).__name__}: {error.filename or error}", is_fault=False)
    except Exception as error:  # a fault of this package in one dataset must not hide the others
        _log.exception("%s", path)
        yield Broken(f"{type(error).__name__}: {error}", is_fault=True)
