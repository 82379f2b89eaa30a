"""Which source is asked for which minutes, and in which pieces.

Belongs here: the decision, from what is known before a request. Does not belong here: what replaces a source that lacks
minutes (`sources.union`), the number of requests of a piece (`forecast`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from market_data_pipeline.core.klines.coverage import Span

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Division:
    """How the minutes of a pair are divided among the sources.

    Attributes:
        name: that of the source: rest, archive or auto.
        page_ms: the longest span of a page of REST.
        published_ms: a UTC day that ends by then should have its file, ms UTC.
        refused: True if REST has no klines of the pair.
    """

    name: str
    page_ms: int
    published_ms: int
    refused: bool

    def pieces(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Cut the spans into UTC days where the archive has them, into pages of REST where it has not."""
        for span in spans:
            start_ms = span.start_ms
            while start_ms < span.end_ms:
                day_end_ms = start_ms // DAY_MS * DAY_MS + DAY_MS
                by_day = self.name == "archive" or self.refused or day_end_ms <= self.published_ms
                if self.name == "rest" or not by_day:
                    day_end_ms = start_ms + self.page_ms
                end_ms = min(day_end_ms, span.end_ms)
                yield Span(start_ms, end_ms)
                start_ms = end_ms

    def is_of_rest(self, piece: Span) -> bool:
        """True if REST is asked for the piece first."""
        return self.name == "rest" or (self.name == "auto" and self._is_short(piece))

    def _is_short(self, piece: Span) -> bool:
        """True if the piece is one page of REST: one request there, and two to the archive.

        A span that begins or ends at midnight is part of a longer load, as local days are, and its file is needed
        anyway.
        """
        if self.refused:
            return False
        at_midnight = not piece.start_ms % DAY_MS or not piece.end_ms % DAY_MS
        is_published = piece.start_ms // DAY_MS * DAY_MS + DAY_MS <= self.published_ms
        return piece.end_ms - piece.start_ms <= self.page_ms and not (at_midnight and is_published)
