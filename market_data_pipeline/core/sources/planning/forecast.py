"""How many requests a load will send, and what they weigh, from what is known before it.

Belongs here: the requests of a piece, and those about minutes that have no klines. Does not belong here: bytes
(`loading.cost`), sending requests (`sources.union`, whose order of questions this repeats).

Minutes that the exchange lacks inside a day that has a file are known only once they were loaded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from market_data_pipeline.core.klines.coverage import Span, intersect, merge, subtract, total_minutes
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.sources.planning.division import DAY_MS, Division

# How far around a gap the reference pair is requested, so that an empty response is not taken for a halt.
AROUND_MS = 30 * MINUTE_MS
MOST_GAPS = 3
"""Of a file with more gaps, REST is asked for the whole day."""
# Each costs a request; what is left is taken for minutes that REST has.
_MOST_HOLES = 50
# The listing, and the checksum of the newest file.
_REQUESTS_FOR_LATER_FILE = 2

FirstIn = Callable[[Span], int | None]
"""Asks REST for the open time of the first kline of a span, None if it has none."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The requests for one piece of a load, or for minutes of it that have no klines.

    Attributes:
        span: the minutes.
        source: whose klines come, rest or archive; empty if none come.
        requests: how many.
        weight: of those that have one.
        files: how many times a file of the archive is downloaded.
        file_bytes: the size of that file, None if it is not known.
        rest_rows: how many klines REST sends.
        klines: how many minutes of the span get a kline.
    """

    span: Span
    source: str
    requests: int
    weight: int = 0
    files: int = 0
    file_bytes: int | None = None
    rest_rows: int = 0
    klines: int = 0


@dataclass(slots=True)
class Forecast:
    """The requests of a load of one pair. `sizes` has each UTC day that has a file, by its start (ms UTC)."""

    division: Division
    weight_of: Callable[[int], int]
    sizes: Mapping[int, int | None]
    knows_later_file: bool = False

    def of(
        self, pieces: Sequence[Span], days: Sequence[Sequence[Span]], absent: Sequence[Span], first_in: FirstIn
    ) -> list[Expected]:
        """The requests of all pieces, then those about minutes without klines, day by day.

        Args:
            pieces: as `Division.pieces` cuts the spans of the days.
            days: the spans of each day.
            absent: minutes of which it is known that they have no klines.
            first_in: asks REST about the days that have no file.
        """
        lacking = merge([*absent, *self._holes(pieces, first_in)])
        expected = [self._of_piece(piece, intersect([piece], lacking)) for piece in pieces]
        if self.division.name == "archive" and not self.division.refused:
            lacking = subtract(lacking, [piece for piece in pieces if not self._has_file(piece)])  # such days fail
        for spans in days:
            expected += [self._of_gap(gap) for gap in intersect(spans, lacking)]
        return expected

    def _has_file(self, piece: Span) -> bool:
        return piece.start_ms // DAY_MS * DAY_MS in self.sizes

    def _holes(self, pieces: Sequence[Span], first_in: FirstIn) -> Iterator[Span]:
        """The minutes of days without a file of which REST has no klines either."""
        without = [piece for piece in pieces if not self.division.is_of_rest(piece) and not self._has_file(piece)]
        for number, hole in enumerate(merge(without)):
            if self.division.refused or self.division.name == "archive":
                yield hole
            elif number < _MOST_HOLES:
                first_ms = first_in(hole)
                if first_ms != hole.start_ms:
                    yield Span(hole.start_ms, hole.end_ms if first_ms is None else first_ms)

    def _of_piece(self, piece: Span, lacking: Sequence[Span]) -> Expected:
        klines = piece.minutes - total_minutes(lacking)
        if self.division.is_of_rest(piece):
            requests, weight = self._pages(piece)
            return Expected(piece, "rest", requests, weight, rest_rows=klines, klines=klines)
        asks_rest = self.division.name == "auto" and not self.division.refused
        if not self._has_file(piece):
            requests, weight = self._pages(piece) if asks_rest else (0, 0)
            return Expected(piece, "rest" if klines else "", 1 + requests, weight, rest_rows=klines, klines=klines)
        requests, weight, rows = 2, 0, 0
        if lacking and asks_rest:
            asked = lacking if len(lacking) <= MOST_GAPS else [piece]
            rows = 0 if asked is lacking else klines
            for span in asked:
                more, more_weight = self._pages(span)
                requests, weight = requests + more, weight + more_weight
        size = self.sizes[piece.start_ms // DAY_MS * DAY_MS]
        return Expected(piece, "archive" if klines else "", requests, weight, 1, size, rows, klines)

    def _of_gap(self, gap: Span) -> Expected:
        """What is asked about minutes without klines: REST again, the archive, and another pair."""
        requests, weight = (0, 0) if self.division.refused else self._pages(gap)
        around = Span(gap.start_ms - AROUND_MS, gap.end_ms + AROUND_MS)
        of_reference, more_weight = self._pages(around)
        days = range(gap.start_ms // DAY_MS * DAY_MS, gap.end_ms, DAY_MS)
        files = [day for day in days if day in self.sizes]
        requests += of_reference + len(days) + len(files)
        if not files and not self.knows_later_file:
            self.knows_later_file = True
            requests += _REQUESTS_FOR_LATER_FILE
        size = self.sizes[files[0]] if files else None
        return Expected(gap, "", requests, weight + more_weight, len(files), size, around.minutes)

    def _pages(self, span: Span) -> tuple[int, int]:
        """The requests that REST needs for a span, and their weight."""
        whole, rest_ms = divmod(span.end_ms - span.start_ms, self.division.page_ms)
        weight = whole * self.weight_of(self.division.page_ms // MINUTE_MS)
        return whole + bool(rest_ms), weight + (self.weight_of(rest_ms // MINUTE_MS) if rest_ms else 0)
