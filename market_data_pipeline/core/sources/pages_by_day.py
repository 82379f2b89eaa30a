"""A source's pages, dealt out to days.

Belongs here: which pages serve a day, and what a day meets where they failed. Does not belong here: what is done with
the klines (`backfill`, `crosscheck`), how pages are had (`sources`).
"""

from collections import deque
from collections.abc import Iterator

import pyarrow as pa

from market_data_pipeline.core.errors import BadAnswer, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span, intersect
from market_data_pipeline.core.klines.table import cut
from market_data_pipeline.core.sources.protocol import Page


class DealtPages:
    """The source's pages, dealt out to days: one page may serve two days, one day may need several pages."""

    def __init__(self, pages: Iterator[Page]) -> None:
        """No page is read yet."""
        self._pages = pages
        self._held: deque[Page] = deque()
        self._unavailable: SourceUnavailable | None = None

    def of(self, spans: tuple[Span, ...]) -> tuple[pa.Table, set[str]]:
        """The klines of the spans, and the sources they came from. Later calls must be for later spans.

        Raises:
            BadAnswer: a page of them has none, and says why.
            SourceUnavailable: no answer to be had, for this day or an earlier one.
        """
        while not self._held or self._held[-1].span.end_ms < spans[-1].end_ms:
            self._held.append(self._next())
        while self._held[0].span.end_ms <= spans[0].start_ms:
            self._held.popleft()
        serving = [page for page in self._held if page.span.start_ms < spans[-1].end_ms]
        for page in serving:
            if page.error and intersect([page.span], spans):
                raise BadAnswer(page.error)
        if len(serving) == len(spans) == 1:
            return cut(serving[0].klines, spans[0]), set(serving[0].sources)
        klines = pa.concat_tables([cut(page.klines, span) for page in serving for span in spans]).combine_chunks()
        return klines, {source for page in serving for source in page.sources}

    def close(self) -> None:
        """Let the source forget the pages nobody will read."""
        close = getattr(self._pages, "close", None)
        if close:
            close()

    def _next(self) -> Page:
        if self._unavailable:
            raise SourceUnavailable(f"not tried, as before it: {self._unavailable}")
        try:
            page = next(self._pages, None)
        except SourceUnavailable as error:
            self._unavailable = error
            raise
        if page is None:
            raise BadAnswer("the source gave fewer pages than it was asked for")
        return page
