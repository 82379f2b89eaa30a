"""Pages requested by threads ahead of their reader, and read in order.

Belongs here: how many requests are in flight, and the order of pages. Does not belong here: what a page is and how it
is requested.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, Generic, TypeVar

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.sources.interrupts import await_end

Loaded = TypeVar("Loaded")
Other = TypeVar("Other")


class PrefetchedPages(Generic[Loaded]):
    """One page per span, or what becomes one, each loaded in a thread of a pool."""

    def __init__(self, name: str, load: Callable[[Span], Loaded], *, threads: int, most_prefetched: int) -> None:
        """Start no thread yet.

        Args:
            name: the threads' name.
            load: loads the page of a span; called in a thread.
            threads: how many pages are loaded at once. Twice as many are requested ahead of a reader.
            most_prefetched: how many pages `start` requests at most, before there is a reader.
        """
        self._load = load
        self._ahead, self._most_prefetched = 2 * threads, most_prefetched
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._started: dict[Span, Future[Loaded]] = {}

    def start(self, spans: Iterator[Span]) -> None:
        """Start to load the first pages, and keep them for `pages`."""
        for span in islice(spans, self._most_prefetched):
            self._started[span] = self._pool.submit(self._load, span)

    def pages(self, spans: Iterator[Span]) -> "ReadAhead[Loaded]":
        """The page of each span, in order. A page that `start` began to load is not loaded twice."""
        return ReadAhead(self.futures(spans))

    def futures(self, spans: Iterator[Span]) -> "FuturesAhead[Loaded]":
        """What has the page of each span or its error, in order."""
        # All started pages stay in flight as the reader's lead; with a shorter one the connections would idle.
        return FuturesAhead(map(self._future, spans), max(self._ahead, len(self._started)))

    def submit(self, call: Callable[..., Other], *arguments: Any) -> "Future[Other]":
        """Let a thread of the pool do what else a page needs."""
        return self._pool.submit(call, *arguments)

    def close(self) -> None:
        """Cancel the pages that were not read, and wait for the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _future(self, span: Span) -> "Future[Loaded]":
        return self._started.pop(span, None) or self._pool.submit(self._load, span)


class FuturesAhead(Generic[Loaded]):
    """Futures in order, each when it is done. A number of them is started ahead of the reader."""

    def __init__(self, started: Iterator[Future[Loaded]], ahead: int) -> None:
        """Start none yet: a future is started when it is taken from `started`."""
        self._started, self._ahead = started, ahead
        self._in_flight: deque[Future[Loaded]] = deque()

    def __iter__(self) -> "FuturesAhead[Loaded]":
        """The futures that are left."""
        return self

    def __next__(self) -> Future[Loaded]:
        """Wait for the next future, and return it; what it raises is left to its reader."""
        if self.first is None:
            raise StopIteration
        # `wait` would not be told that `PrefetchedPages.close` cancels it.
        await_end(self._in_flight[0])
        self._ahead += 1
        return self._in_flight.popleft()

    @property
    def first(self) -> Future[Loaded] | None:
        """The future that comes next, done or not; None at the end."""
        if self._ahead:
            self._in_flight.extend(islice(self._started, self._ahead))
            self._ahead = 0
        return self._in_flight[0] if self._in_flight else None

    def close(self) -> None:
        """Cancel what was not read."""
        for future in self._in_flight:
            future.cancel()
        self._in_flight.clear()
        self._started = iter(())


class ReadAhead(Generic[Loaded]):
    """The results of futures in order; see `protocol.Pages`."""

    def __init__(self, futures: FuturesAhead[Loaded]) -> None:
        """Start nothing yet."""
        self._futures = futures

    def __iter__(self) -> "ReadAhead[Loaded]":
        """The results that are left."""
        return self

    def __next__(self) -> Loaded:
        """Wait for the next result, and return it, or raise what its future raises; then nothing follows.

        Raises:
            SourceUnavailable: the pages were closed meanwhile, in another thread.
        """
        future = next(self._futures)
        if error := error_of(future):
            self.close()
            raise error
        return future.result()

    def wait(self, timeout_s: float) -> bool:
        """See `protocol.Pages`."""
        first = self._futures.first
        return first is None or bool(wait([first], timeout_s).done)

    def close(self) -> None:
        """Cancel what was not read."""
        self._futures.close()


def error_of(ended: Future[Any]) -> BaseException | None:
    """Why a future that has ended has no result: its error, or that the pages were closed meanwhile; None if it has."""
    return SourceUnavailable("the load was stopped") if ended.cancelled() else ended.exception()


def pieces(spans: Iterable[Span], size_ms: int, *, aligned: bool = False) -> Iterator[Span]:
    """Cut the spans into pieces of at most `size_ms`. Aligned pieces end at multiples of `size_ms` since the epoch."""
    for span in spans:
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            end_ms = min(start_ms + size_ms - (start_ms % size_ms if aligned else 0), span.end_ms)
            yield Span(start_ms, end_ms)
            start_ms = end_ms
