"""Storing what a tick fetched, while other datasets are still being fetched.

Belongs here: which klines go into the journal and which into chunks, and the threads that store them. Does not belong
here: fetching (`market`, `dataset`), the journal (`journaling`), what may be in it (`open_day`).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

from market_data_pipeline.core.errors import PASSING, MarketDataError
from market_data_pipeline.core.klines.table import Bits
from market_data_pipeline.core.live.dataset import LiveDataset, Update
from market_data_pipeline.core.live.journaling import MarketJournal
from market_data_pipeline.core.live.newest import Newest

# Writing chunks holds Python's lock half of the time, so more threads would only make every dataset late.
_THREADS = 2
Fetched: TypeAlias = "Future[Newest | Update]"
_Arrived: TypeAlias = "SimpleQueue[tuple[LiveDataset, Fetched]]"
_Stored: TypeAlias = "SimpleQueue[Future[Update]]"


class Storing:
    """The threads that store the klines of one market: one for the journal, some for chunks."""

    def __init__(self, journal: MarketJournal, name: str) -> None:
        """Start no thread."""
        self._journal = journal
        self._appending = ThreadPoolExecutor(1, thread_name_prefix=f"journal-{name}")
        self._writing = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{name}")

    def stored(self, fetched: Mapping[LiveDataset, Fetched]) -> Iterator[Update]:
        """Store the klines of each dataset when they are fetched; yield its update when they are on disk."""
        arrived: _Arrived = SimpleQueue()
        stored: _Stored = SimpleQueue()
        for live, newest in fetched.items():
            newest.add_done_callback(partial(self._note_arrival, live, arrived, stored))
        for _ in fetched:
            yield stored.get().result()

    def close(self) -> None:
        """End the threads, once they have stored what they have begun."""
        self._appending.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)

    def _note_arrival(self, live: LiveDataset, arrived: _Arrived, stored: _Stored, fetched: Fetched) -> None:
        try:
            arrived.put((live, fetched))
            self._appending.submit(self._store_arrived, arrived, stored)
        except Exception as error:  # raised here it would be lost, and the tick would wait for the update forever
            stored.put(_ended(error=error))

    def _store_arrived(self, arrived: _Arrived, stored: _Stored) -> None:
        """Store all klines that have arrived by now: plain growth in the journal, by one append; others in chunks."""
        grown = []
        while not arrived.empty():
            live, fetched = arrived.get()
            try:
                if growth := self._growth_or_begun(live, fetched, stored):
                    grown.append(growth)
            except (MarketDataError, OSError) as error:
                stored.put(_ended(failed(live, error)))
            except Exception as error:  # the tick raises it
                stored.put(_ended(error=error))
        if not grown:
            return
        try:
            updates = self._journal.store(grown)
        except OSError as error:  # for example a full disk, which may have room in a minute
            updates = [failed(live, error) for live, _, _ in grown]
        except Exception as error:
            for _ in grown:
                stored.put(_ended(error=error))
            return
        for update in updates:
            stored.put(_ended(update))

    def _growth_or_begun(
        self, live: LiveDataset, fetched: Fetched, stored: _Stored
    ) -> tuple[LiveDataset, Newest, Bits] | None:
        """What the journal may have of the klines; None where the update is known, or chunks are being written."""
        newest = fetched.result()
        if not isinstance(newest, Newest):
            stored.put(_ended(newest))
        elif (rows := live.growth(newest)) is not None:
            return live, newest, rows
        else:
            self._writing.submit(_store_newest, live, newest).add_done_callback(stored.put)
        return None


def failed(live: LiveDataset, error: Exception) -> Update:
    """The update of a dataset of which nothing could be stored."""
    text, may_pass = " ".join(str(error).split()), isinstance(error, PASSING)
    return Update(live.name, live.last_open_ms, error=text, may_pass=may_pass)


def _store_newest(live: LiveDataset, newest: Newest) -> Update:
    try:
        return live.store_newest(newest)
    except (MarketDataError, OSError) as error:
        return failed(live, error)


def _ended(update: Update | None = None, *, error: Exception | None = None) -> "Future[Update]":
    future: Future[Update] = Future()
    if error:
        future.set_exception(error)
    elif update:
        future.set_result(update)
    return future
