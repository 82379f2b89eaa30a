"""Load many datasets, several at once, each in a process of its own: decoding klines needs a core.

Belongs here: what a process does for one dataset, and what it tells. Does not belong here: the processes (`workers`),
loading one dataset (`loading.load_days`), recording what was loaded (`defs`).
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile

import pyarrow as pa

from market_data_pipeline.core.bulk.cores import cores
from market_data_pipeline.core.bulk.workers import Died, stream
from market_data_pipeline.core.errors import PASSING, MarketDataError, NoKlinesInWindow, SourceUnavailable
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.load_days import load_together
from market_data_pipeline.core.loading.plan import plan_load
from market_data_pipeline.core.loading.request import WindowRequest, opened
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.proof.prove import NewDays, Proof
from market_data_pipeline.core.sources.protocol import Usage
from market_data_pipeline.core.store.combined import Combined, combine
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import DatasetStatus, status_of
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import refusal_of_disk

_log = logging.getLogger(__name__)
# Each such pair was tried for half a minute.
_MOST_UNREACHABLE = 5


@dataclass(frozen=True, slots=True)
class Work:
    """How every dataset is loaded. It goes to other processes, so all of it must be picklable.

    Attributes:
        store: the data root.
        open_source: opens the source of a pair.
        log: lets the process write its log lines where those of the installation are.
        refetch: request also what is stored.
        row_group_rows: most rows of a Parquet row group in the chunks, None for one group a day.
        build_combined: also build the combined file of each dataset.
    """

    store: Store
    open_source: OpenSource
    log: Callable[[], None]
    refetch: bool = False
    row_group_rows: int | None = None
    build_combined: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The first message about a dataset: it exists, and so many days are planned."""

    dataset: Dataset
    days: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The last message about a dataset.

    Attributes:
        warnings: what a user should know of the dataset.
        proof: of the days from the first to the last that got a new chunk, None if none did.
        status: the dataset in numbers, None if it was not loaded at all.
        fingerprint: of the dataset's chunks.
        combined: its combined file, None if none was to be built, or none could be.
        error: why it was not loaded at all, or not combined; None if it was. Days that failed have told it themselves.
        may_pass: True if the same may succeed later: the error is one of the exchange, the network or the disk.
        is_unreachable: True if the exchange does not answer, or refuses all requests.
    """

    warnings: tuple[str, ...] = ()
    proof: Proof | None = None
    status: DatasetStatus | None = None
    fingerprint: str = ""
    combined: Combined | None = None
    error: str | None = None
    may_pass: bool = False
    is_unreachable: bool = False


Message = Begun | DayResult | Usage | Ended


def load_many(requests: Sequence[WindowRequest], work: Work) -> Generator[tuple[WindowRequest, Message]]:
    """Load the windows; yield what is told about each. The failure of one dataset changes nothing for the others.

    Where the exchange does not answer for several pairs in a row, those that have not begun are not tried.

    One request alone is loaded in this process. Of each request come `Begun`, a `DayResult` for each day in order
    (without its klines) with `Usage` between, and `Ended`; only `Ended` if it cannot begin.

    Args:
        requests: one for each dataset.
        work: how each is loaded.
    """
    if len(requests) == 1:
        # Also where many runs load one dataset each: a process that dies then takes its run with it, as a worker does.
        for messages in _loaded(work, True, requests[0]):
            for message in messages:
                yield requests[0], message
        return
    available = cores()
    at_once = min(available, len(requests))
    left, unreachable = dict.fromkeys(requests), 0
    # Asked for one by one, as processes become free.
    tried = takewhile(lambda _: unreachable < _MOST_UNREACHABLE, requests)
    with closing(stream(partial(_loaded_alone, work, at_once < available), tried, processes=at_once)) as told:
        for request, said in told:
            if request not in left:
                continue  # all was told when its process died
            messages = [_died(said)] if isinstance(said, Died) else said
            for message in messages:
                yield request, message
                if isinstance(message, Ended):
                    del left[request]
                    unreachable = unreachable + 1 if message.is_unreachable else 0
    for request in left:
        error = f"not tried, because the exchange did not answer for {_MOST_UNREACHABLE} pairs in a row"
        yield request, Ended(error=error, may_pass=True, is_unreachable=True)


def _died(said: Died) -> Ended:
    error = f"the process that loaded it {said.how}; try again, what was loaded is kept"
    return Ended(error=error, may_pass=True)


def _loaded_alone(work: Work, has_core_free: bool, request: WindowRequest) -> Iterator[Sequence[Message]]:
    """`_loaded`, in a process of `load_many`."""
    # Arrow would start a thread each time it reads CSV, to notice Ctrl-C, which this process ignores.
    pa.enable_signal_handlers(False)
    return _loaded(work, has_core_free, request)


def _loaded(work: Work, has_core_free: bool, request: WindowRequest) -> Iterator[Sequence[Message]]:
    """Load one window, and yield messages, some at a time."""
    try:
        work.log()
        with (
            opened(work.store, work.open_source, request) as found,
            found.files.loading(found.window),
        ):
            load = plan_load(found.files, found.source, found.window, refetch=work.refetch)
            yield [Begun(found.files.dataset, len(load.tasks))]
            new_days = NewDays(found.files)
            for results in load_together(load, row_group_rows=work.row_group_rows, has_core_free=has_core_free):
                for result in results:
                    if result.klines is not None:
                        new_days.add(result.day, result.klines)
                yield [*(replace(result, klines=None) for result in results), found.source.usage()]
            # Before the proof, which looks at the combined file, too.
            made = _combined(found.files) if work.build_combined else Ended()
            # What was just written of these chunks is not read again; what lay there before is.
            path = made.combined.path if made.combined and made.combined.built else None
            built = storage_of(path).version(path) if path else None
            warnings = (*found.warnings, *found.source.warnings)
            proof = new_days.proof(lambda version: version == built)
            fingerprint = found.files.fingerprint() if proof else ""
            ended = replace(
                made, warnings=warnings, proof=proof, status=status_of(found.files), fingerprint=fingerprint
            )
        yield [ended]  # not before all is closed and released, which may fail
    except MarketDataError as error:
        if isinstance(error, NoKlinesInWindow) and request.in_catalog:
            # The catalog has whole UTC days: the pair may have ended on the window's first one, before the window, or
            # have begun on its last one, after the window.
            yield [Ended((str(error),))]
            return
        unreachable = isinstance(error, SourceUnavailable)
        yield [Ended(error=str(error), may_pass=isinstance(error, PASSING), is_unreachable=unreachable)]
    except OSError as error:
        yield [Ended(error=refusal_of_disk(error), may_pass=True)]
    except Exception as error:  # a fault of this package in one dataset must not end the others
        _log.exception("%s", request.name)
        yield [Ended(error=f"{type(error).__name__}: {error}")]


def _combined(files: DatasetStore) -> Ended:
    """The combined file of a dataset that was loaded, or why there is none."""
    try:
        return Ended(combined=combine(files)) if files.entries else Ended()
    except MarketDataError as error:
        return Ended(error=str(error), may_pass=isinstance(error, PASSING))
    except OSError as error:
        return Ended(error=refusal_of_disk(error), may_pass=True)
