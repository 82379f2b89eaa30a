"""Pages of a source, regrouped by day.

Belongs here: which pages a day needs, and which error a day gets from a failed page. Does not belong here: what is done
with the klines (`core.loading`, `core.proof`), how pages are requested (`sources.prefetch`).
"""

import time
from collections import deque
from dataclasses import dataclass

import pyarrow as pa

from market_data_pipeline.core.errors import BadAnswer, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span, intersect
from market_data_pipeline.core.klines.flaws import BadRow, Flaw
from market_data_pipeline.core.klines.table import cut
from market_data_pipeline.core.sources.protocol import Page, Pages


@dataclass(frozen=True, slots=True)
class DayKlines:
    """The klines of a day's spans with their flaws, the sources of its pages, and what else a `Page` has of them."""

    klines: pa.Table
    sources: frozenset[str]
    checked: bool = False
    flaws: tuple[Flaw, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()


class PagesByDay:
    """The pages of a source, read day by day. A page may have minutes of two days, and a day may need several pages."""

    def __init__(self, pages: Pages) -> None:
        """Read no page yet."""
        self._pages = pages
        self._held: deque[Page] = deque()
        self._unavailable: SourceUnavailable | None = None
        self._error: BadAnswer | SourceUnavailable | None = None

    def wait(self, spans: tuple[Span, ...], timeout_s: float) -> bool:
        """Wait at most so many seconds for the pages of a day's spans; True if `of` then returns or raises at once."""
        until_s = time.monotonic() + timeout_s
        try:
            while self._error is None and self._lacks(spans):
                if not self._pages.wait(max(0, until_s - time.monotonic())):
                    return False
                self._held.append(self._next())
        except (BadAnswer, SourceUnavailable) as error:
            self._error = error
        return True

    def of(self, spans: tuple[Span, ...]) -> DayKlines:
        """Return the klines of a day's spans. Each call must be for later spans.

        Raises:
            BadAnswer: a page of these spans failed.
            SourceUnavailable: a page of these spans, or of earlier ones, could not be had.
        """
        if error := self._error:
            self._error = None
            raise error
        while self._lacks(spans):
            self._held.append(self._next())
        while self._held[0].span.end_ms <= spans[0].start_ms:
            self._held.popleft()
        serving = [page for page in self._held if page.span.start_ms < spans[-1].end_ms]
        for page in serving:
            if page.error and intersect([page.span], spans):
                raise BadAnswer(page.error)
        parts = [cut(page.klines, span) for page in serving for span in spans]
        return _of_pages(parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks(), serving)

    def close(self) -> None:
        """Cancel the requests for pages that were not read."""
        self._pages.close()

    def _lacks(self, spans: tuple[Span, ...]) -> bool:
        return bool(spans) and (not self._held or self._held[-1].span.end_ms < spans[-1].end_ms)

    def _next(self) -> Page:
        if self._unavailable:
            raise SourceUnavailable(f"not tried, because an earlier request failed: {self._unavailable}")
        try:
            page = next(self._pages, None)
        except SourceUnavailable as error:
            self._unavailable = error
            raise
        if page is None:
            raise BadAnswer("the source gave fewer pages than were requested")
        return page


def _of_pages(klines: pa.Table, pages: list[Page]) -> DayKlines:
    """A day's klines, which are parts of these pages."""
    return DayKlines(
        klines,
        sources=frozenset(source for page in pages for source in page.sources),
        checked=all(page.checked for page in pages),
        flaws=tuple(flaw for page in pages for flaw in page.flaws),
        bad_rows=tuple(row for page in pages for row in page.bad_rows),
    )
