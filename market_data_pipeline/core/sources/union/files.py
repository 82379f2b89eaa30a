"""What the archive's files have of minutes, and in words what they lack.

Belongs here: a file that is missing, bad or cannot be had, as a reason instead of an error. Does not belong here: the
files themselves (`sources.archive`), what REST is asked then (`pages`), what an absence proves (`source`).
"""

from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from typing import TypeVar

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.klines.sifting import NOTHING, Sifted, both
from market_data_pipeline.core.sources.archive.files import Archive, BadFile, NoFile
from market_data_pipeline.core.sources.planning.division import DAY_MS
from market_data_pipeline.core.sources.prefetch import pieces

HAS_NONE = "archive: none of them"
HAS_LATER = "archive: no file of the day, but of later ones"
NO_FILE = "the archive has no file of "

T = TypeVar("T")


class ArchiveFiles:
    """The archive's files of one pair, asked about spans. Threads may share it."""

    def __init__(self, archive: Archive, *, alone: bool) -> None:
        """Send no request yet; `alone` if there is no other source, so that it is an error if there is no answer."""
        self._archive, self._alone = archive, alone

    def packed(self, span: Span) -> tuple[bytes | None, str]:
        """Return the zip of the UTC day that a span is in; None and the reason if it cannot be used.

        Raises:
            SourceUnavailable: the archive gives no answers, and there is no other source.
        """
        return self._read(span, self._archive.packed)

    def unpacked(self, span: Span, packed: bytes) -> Sifted | None:
        """Return the rows of a span in the zip of its UTC day; None if they cannot be used."""
        try:
            return self._archive.rows(packed, _utc_midnight(span)).part(span)
        except BadFile:
            return None

    def rows(self, span: Span) -> tuple[Sifted, str]:
        """Return the rows of a span within one UTC day, and the reason if its file cannot be used.

        Raises:
            SourceUnavailable: the archive gives no answers, and there is no other source.
        """
        rows, lacks = self._read(span, self._archive.day)
        return (NOTHING, lacks) if rows is None else (rows.part(span), "")

    def evidence(self, gap: Span, now_ms: int) -> tuple[Sifted, str]:
        """Return the rows of a gap, and the line of evidence.

        Raises:
            SourceUnavailable: the archive gives no answers, and there is no other source.
        """
        of_days = [self.rows(piece) for piece in pieces([gap], DAY_MS, aligned=True)]
        found = reduce(both, (rows for rows, _ in of_days))
        if found.klines.num_rows:
            return found, f"archive: has {found.klines.num_rows} of them"
        lacks = [lacks for _, lacks in of_days if lacks]
        if not lacks:
            return found, HAS_NONE
        if all(lack.startswith(NO_FILE) for lack in lacks):
            with suppress(SourceUnavailable):
                if self._archive.has_later_file(gap.end_ms - 1, now_ms):
                    withheld = next(filter(None, map(self.withheld, pieces([gap], DAY_MS, aligned=True))), "")
                    return found, f"archive: {withheld}" if withheld else HAS_LATER
        return found, f"archive: {lacks[0]}"

    def withheld(self, span: Span) -> str:
        """The reason if a file that is missing is listed, so that this proves nothing; empty if it is not."""
        start_ms = _utc_midnight(span)
        listed = self._archive.is_listed(start_ms)
        return f"the archive lists a file of {iso(start_ms)[:10]} and gives none" if listed else ""

    def _read(self, span: Span, read: Callable[[int], T]) -> tuple[T | None, str]:
        start_ms = _utc_midnight(span)
        try:
            return read(start_ms), ""
        except NoFile:
            return None, f"{NO_FILE}{iso(start_ms)[:10]}"
        except BadFile as error:
            return None, f"the archive's file of {iso(start_ms)[:10]} is not used: {error}"
        except SourceUnavailable as error:
            if self._alone:
                raise
            return None, str(error)


def _utc_midnight(span: Span) -> int:
    return span.start_ms // DAY_MS * DAY_MS
