"""Pages requested by threads ahead of their reader, and read in order.

Belongs here: how many requests are in flight, and the order of pages. Does not belong here: what a page is and how it
is requested.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from typing import Any, Generic, TypeVar

from market_data_pipeline.core.klines.coverage import Span

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

    def pages(self, spans: Iterator[Span]) -> Generator[Loaded]:
        """Yield the page of each span, in order. A page that `start` began to load is not loaded twice."""
        with closing(self.ended(spans)) as futures:
            for future in futures:
                yield future.result()

    def ended(self, spans: Iterator[Span]) -> "Generator[Future[Loaded]]":
        """As `pages`, and nothing is raised: yield what has the page or the error."""
        in_flight: deque[Future[Loaded]] = deque()
        try:
            # All started pages stay in flight as the reader's lead; with a shorter one the connections would idle.
            in_flight.extend(self._future(span) for span in islice(spans, max(self._ahead, len(self._started))))
            while in_flight:
                future = in_flight.popleft()
                if not future.done():
                    wait([future])
                in_flight.extend(self._future(span) for span in islice(spans, 1))
                yield future
        finally:
            for future in in_flight:
                future.cancel()

    def submit(self, call: Callable[..., Other], *arguments: Any) -> "Future[Other]":
        """Let a thread of the pool do what else a page needs."""
        return self._pool.submit(call, *arguments)

    def close(self) -> None:
        """Cancel the pages that were not read, and wait for the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _future(self, span: Span) -> "Future[Loaded]":
        return self._started.pop(span, None) or self._pool.submit(self._load, span)


def pieces(spans: Iterable[Span], size_ms: int, *, aligned: bool = False) -> Iterator[Span]:
    """Cut the spans into pieces of at most `size_ms`. Aligned pieces end at multiples of `size_ms` since the epoch."""
    for span in spans:
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            end_ms = min(start_ms + size_ms - (start_ms % size_ms if aligned else 0), span.end_ms)
            yield Span(start_ms, end_ms)
            start_ms = end_ms
