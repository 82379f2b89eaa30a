"""Pages asked for ahead of their reader, by threads, and handed out in order.

Belongs here: how many are under way, and their order. Does not belong here: what a page is and how it is had.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.sources.protocol import Page


class PagesAhead:
    """Pages of spans, each had by one call in a thread."""

    def __init__(self, name: str, page: Callable[[Span], Page], *, at_once: int, far: int) -> None:
        """No thread is started yet.

        Args:
            name: what the threads are called.
            page: has the page of a span; runs in a thread.
            at_once: how many pages are had at a time. Twice as many are asked for ahead of a reader.
            far: how many are asked for ahead of a reader who has not come yet.
        """
        self._page = page
        self._ahead, self._far_ahead = 2 * at_once, far
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._asked: dict[Span, Future[Page]] = {}

    def ask(self, spans: Iterator[Span]) -> None:
        """Ask for the first pages and keep them for `pages`."""
        for span in islice(spans, self._far_ahead):
            self._asked[span] = self._pool.submit(self._page, span)

    def pages(self, spans: Iterator[Span]) -> Iterator[Page]:
        """The page of each span, in order; what was asked for before is not asked for again."""
        flying: deque[Future[Page]] = deque()
        try:
            # A reader that came late keeps the pages it found waiting as its lead, or the connections would idle.
            flying.extend(self._future(span) for span in islice(spans, max(self._ahead, len(self._asked))))
            while flying:
                page = flying.popleft().result()
                flying.extend(self._future(span) for span in islice(spans, 1))
                yield page
        finally:
            for future in flying:
                future.cancel()

    def close(self) -> None:
        """Forget what nobody read, and wait for the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _future(self, span: Span) -> "Future[Page]":
        return self._asked.pop(span, None) or self._pool.submit(self._page, span)


def pieces(spans: Iterable[Span], size_ms: int, *, aligned: bool = False) -> Iterator[Span]:
    """The spans in pieces of at most `size_ms`; aligned ones end at multiples of it since the epoch."""
    for span in spans:
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            end_ms = min(start_ms + size_ms - (start_ms % size_ms if aligned else 0), span.end_ms)
            yield Span(start_ms, end_ms)
            start_ms = end_ms
