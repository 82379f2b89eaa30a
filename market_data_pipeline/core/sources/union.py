"""The exchange as one source: REST and the archive together, and the evidence of both for absent minutes.

Belongs here: which of the two a minute is requested from, what replaces one that fails, and the proof that minutes
never had klines. Does not belong here: the requests to either (`sources.rest`, `sources.archive`).
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import reduce

import pyarrow as pa

from market_data_pipeline.core.errors import (
    BadAnswer,
    MarketDataError,
    SourceError,
    SourceUnavailable,
)
from market_data_pipeline.core.klines.coverage import Kind, Span, gaps, merge
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.klines.flaws import merged
from market_data_pipeline.core.klines.sifting import NOTHING, Sifted, both
from market_data_pipeline.core.klines.table import EMPTY, cut, open_times
from market_data_pipeline.core.sources.archive.files import (
    CONNECTIONS,
    DAY_MS,
    PUBLISHED_AFTER_MS,
    Archive,
    BadFile,
    NoFile,
)
from market_data_pipeline.core.sources.lives import Lives
from market_data_pipeline.core.sources.prefetch import PrefetchedPages, pieces
from market_data_pipeline.core.sources.protocol import Life, Page, Recheck, Usage
from market_data_pipeline.core.sources.rest.klines import REST, RestSource

ARCHIVE = frozenset({"archive"})
# A UTC day is 138 kB.
_MOST_PREFETCHED = 3 * CONNECTIONS
# How far around a gap the reference pair is requested, so that an empty response is not taken for a halt.
_AROUND_MS = 30 * MINUTE_MS
# A halt does not begin and end in the same minute for every pair.
_EDGE_MINUTES, _LONG_MINUTES = 2, 20
_MOST_GAPS = 3
_ARCHIVE_HAS_NONE = "archive: none of them"
_NO_FILE = "the archive has no file of "
_ARCHIVE_HAS_LATER = "archive: no file of the day, but of later ones"

_log = logging.getLogger(__name__)


class ExchangeSource:
    """Klines of one pair from REST, from the archive, or from both."""

    def __init__(self, name: str, rest: RestSource, archive: Archive, reference: tuple[str, RestSource]) -> None:
        """Send no request yet.

        Args:
            name: `rest`, `archive`, or `auto`: the archive for days that it should have, REST for all others.
            rest: the REST API.
            archive: the archive's files.
            reference: the name and source of another pair, one that is traded whenever the market is open.
        """
        self._name, self._rest, self._archive, self._reference = name, rest, archive, reference
        self._lives = Lives(name, rest, archive)
        self._prefetched = PrefetchedPages("archive", self._page, threads=CONNECTIONS, most_prefetched=_MOST_PREFETCHED)

    @property
    def warnings(self) -> list[str]:
        """See `KlineSource.warnings`."""
        return self._rest.warnings

    def now_ms(self) -> int:
        """Return the exchange's clock, or this machine's where only the archive can be reached (ms UTC)."""
        return self._lives.now_ms()

    def life(self, since_ms: int = 1 << 62, *, between: Span | None = None, refresh: bool = False) -> Life:
        """See `KlineSource.life`."""
        return self._lives.life(since_ms, between=between, refresh=refresh)

    def listed_pair(self) -> str | None:
        """See `KlineSource.listed_pair`. Only REST has it, and the archive alone does without."""
        if self._name == "archive":
            return None
        try:
            return self._rest.listed_pair()
        except SourceError as error:
            _log.warning("base and quote are not known from the exchange: %s", error)
            return None

    def newest(self, span: Span, *, paid: bool = False) -> pa.Table:
        """See `KlineSource.newest`. Only REST has the newest minutes."""
        return self._rest.newest(span, paid=paid)

    def prefetch(self, spans: Iterable[Span]) -> None:
        """See `KlineSource.prefetch`."""
        if self._name == "rest":
            self._rest.prefetch(spans)
        else:
            self._prefetched.start(self._pieces(spans))

    def pages(self, spans: Iterable[Span]) -> Iterator[Page]:
        """See `KlineSource.pages`."""
        return self._rest.pages(spans) if self._name == "rest" else self._prefetched.pages(self._pieces(spans))

    def recheck(self, gap: Span) -> Recheck:
        """See `KlineSource.recheck`.

        It is proven that minutes have no klines where REST has none, requested twice, or none of the pair at all, and
        either the archive has none, or on spot the reference pair has none. The archive has none if the file of the
        day has none, or if later days have a file and this one has not; a bad file proves nothing. Where the reference
        pair has klines of the minutes, this pair alone was `suspended`; else it is an `outage`. Futures have klines
        also while the market is halted, so there another pair that has none proves nothing by itself.
        """
        refusal = self._lives.refusal
        by_rest = Recheck(EMPTY, evidence=(refusal,)) if refusal else self._rest.recheck(gap)
        if by_rest.klines.num_rows:
            return replace(by_rest, bad_rows=())  # the minutes that are still absent are asked for again
        archived, of_archive = self._archived(gap)
        if archived.klines.num_rows and self._name != "rest":
            return Recheck(archived.klines, ARCHIVE, flaws=archived.flaws)
        of_archive_too = archived.bad_rows if self._name != "rest" else ()
        if bad_rows := merged((*by_rest.bad_rows, *of_archive_too)):
            return Recheck(EMPTY, bad_rows=bad_rows)
        other_trades, of_reference = self._other_pair(gap)
        kind = self._kind(of_archive, archived, other_trades)
        return Recheck(EMPTY, evidence=(*by_rest.evidence, of_archive, *of_reference), kind=kind)

    def _kind(self, of_archive: str, archived: Sifted, other_trades: bool | None) -> Kind:
        """What the evidence of the archive and of the reference pair (None: it says nothing) proves of a gap."""
        in_archive = not archived.klines.num_rows and of_archive in {_ARCHIVE_HAS_NONE, _ARCHIVE_HAS_LATER}
        if self._lives.is_unreachable or archived.klines.num_rows:
            return Kind.UNEXPLAINED
        if other_trades is False and (in_archive or self._rest.client.market is Market.SPOT):
            return Kind.OUTAGE
        if not in_archive:
            return Kind.UNEXPLAINED
        if other_trades:
            return Kind.SUSPENDED
        return Kind.OUTAGE if of_archive == _ARCHIVE_HAS_NONE else Kind.UNEXPLAINED

    def usage(self) -> Usage:
        """See `KlineSource.usage`."""
        return self._rest.usage()

    def close(self) -> None:
        """End all waiting, then the threads."""
        self._archive.close()
        self._rest.close()
        self._prefetched.close()
        self._reference[1].close()

    def _pieces(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Cut the spans into UTC days where the archive has them, into pages of REST where it has not."""
        published_ms = self.now_ms() - PUBLISHED_AFTER_MS
        for span in spans:
            start_ms = span.start_ms
            while start_ms < span.end_ms:
                day_end_ms = start_ms // DAY_MS * DAY_MS + DAY_MS
                by_day = self._name == "archive" or bool(self._lives.refusal) or day_end_ms <= published_ms
                end_ms = min(day_end_ms if by_day else start_ms + self._rest.page_ms, span.end_ms)
                yield Span(start_ms, end_ms)
                start_ms = end_ms

    def _page(self, span: Span) -> Page:
        try:
            if self._name == "auto" and self._is_short(span):
                return self._of_rest_first(span)
            of_file, lacks = self._of_file(span)
            missing = gaps(open_times(of_file.klines), span)
            if self._lives.refusal and not self._lives.is_unreachable:
                # Only the archive can have the pair's klines; what it lacks is looked into by `recheck`.
                bad = f"{lacks}" if lacks and not lacks.startswith(_NO_FILE) else None
                return _page(span, of_file, ARCHIVE, bad)
            if self._name == "archive" or not (lacks or missing or of_file.flaws):
                return _page(span, of_file, ARCHIVE, f"{lacks}; REST may have the day" if lacks else None)
            if lacks:
                _log.warning("%s; asking REST", lacks)
            by_rest = self._second_opinion(span, missing, of_file)
        except BadAnswer as error:
            return Page(span, EMPTY, REST, str(error))
        found = both(of_file, by_rest)
        # Where REST has but the same flawed klines, the archive's are all there is.
        from_archive = ARCHIVE if of_file.klines.num_rows else frozenset()
        from_rest = frozenset() if found.klines.equals(of_file.klines) else REST
        return _page(span, found, from_archive | from_rest or REST)

    def _of_rest_first(self, span: Span) -> Page:
        """Return a page of REST; with the archive's rows beside it where REST's break a rule."""
        by_rest = self._rest.sifted(span)
        if by_rest.clean:
            return _page(span, by_rest, REST)
        archived, _ = self._archived(span)
        doubted = merge([*by_rest.doubtful, *gaps(open_times(by_rest.klines), span)])
        of_archive = reduce(both, map(archived.part, doubted), NOTHING)
        return _page(span, both(of_archive, by_rest), REST | ARCHIVE if of_archive.klines.num_rows else REST)

    def _second_opinion(self, span: Span, missing: list[Span], of_file: Sifted) -> Sifted:
        """Return what REST has of the minutes that the file lacks or has flawed; of the whole span if they are many."""
        doubted = merge([*missing, *of_file.doubtful])
        asked = doubted if len(doubted) <= _MOST_GAPS else [span]
        if not missing and self._lives.is_unreachable:
            return NOTHING
        try:
            return reduce(both, map(self._rest.sifted, asked), NOTHING)
        except SourceUnavailable:
            raise
        except SourceError as error:
            if missing:
                raise
            # The file has these minutes, flawed as they are.
            _log.warning("%s; the archive's klines are kept", error)
            return NOTHING

    def _is_short(self, span: Span) -> bool:
        """True if the span is one page of REST: one request there, and two to the archive.

        A span that begins or ends at midnight is part of a longer load, as local days are, and its file is needed
        anyway.
        """
        if self._lives.refusal:
            return False
        at_midnight = not span.start_ms % DAY_MS or not span.end_ms % DAY_MS
        is_published = span.start_ms // DAY_MS * DAY_MS + DAY_MS <= self.now_ms() - PUBLISHED_AFTER_MS
        return span.end_ms - span.start_ms <= self._rest.page_ms and not (at_midnight and is_published)

    def _of_file(self, span: Span) -> tuple[Sifted, str]:
        """Return the archive's rows of a span within one UTC day, and the reason if its file cannot be used."""
        start_ms = span.start_ms // DAY_MS * DAY_MS
        try:
            return self._archive.day(start_ms).part(span), ""
        except NoFile:
            return NOTHING, f"{_NO_FILE}{iso(start_ms)[:10]}"
        except BadFile as error:
            return NOTHING, f"the archive's file of {iso(start_ms)[:10]} is not used: {error}"
        except SourceUnavailable as error:
            if self._name == "archive":
                raise
            return NOTHING, str(error)

    def _archived(self, gap: Span) -> tuple[Sifted, str]:
        """Return the archive's rows of the gap, and the line of evidence."""
        of_days = [self._of_file(piece) for piece in pieces([gap], DAY_MS, aligned=True)]
        found = reduce(both, (rows for rows, _ in of_days))
        if found.klines.num_rows:
            return found, f"archive: has {found.klines.num_rows} of them"
        lacks = [lacks for _, lacks in of_days if lacks]
        if not lacks:
            return found, _ARCHIVE_HAS_NONE
        if all(lack.startswith(_NO_FILE) for lack in lacks):
            with suppress(SourceUnavailable):
                if self._archive.has_later_file(gap.end_ms - 1, self.now_ms()):
                    return found, _ARCHIVE_HAS_LATER
        return found, f"archive: {lacks[0]}"

    def _other_pair(self, gap: Span) -> tuple[bool | None, tuple[str, ...]]:
        """Return whether the reference pair has klines in the gap, None if that says nothing; and the evidence."""
        pair, source = self._reference
        if self._lives.is_unreachable:
            return None, ()
        try:
            klines = source.klines(Span(gap.start_ms - _AROUND_MS, gap.end_ms + _AROUND_MS))
        except MarketDataError as error:
            return None, (f"{pair}: {error}",)
        inside = cut(klines, gap).num_rows
        if klines.num_rows == inside == 0:
            return None, (f"{pair}: none around them either",)
        halted = inside <= (_EDGE_MINUTES if gap.minutes > _LONG_MINUTES else 0)
        has = "none" if not inside else "all" if inside == gap.minutes else f"{inside}"
        return not halted, (f"{pair}: {has} of them",)


def _page(span: Span, found: Sifted, sources: frozenset[str], error: str | None = None) -> Page:
    return Page(span, found.klines, sources, error, not error and found.clean, found.flaws, found.bad_rows)
