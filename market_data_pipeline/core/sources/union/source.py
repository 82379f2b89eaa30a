"""The exchange as one source: REST and the archive together, and the evidence of both for absent minutes.

Belongs here: the proof that minutes never had klines. Does not belong here: pages (`pages`), when the pair was traded
(`lives`), the requests to either (`sources.rest`, `sources.archive`).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date

from market_data_pipeline.core.errors import REFUSED, MarketDataError, SourceError
from market_data_pipeline.core.klines.coverage import PROVEN, Kind, Span, merge
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.flaws import merged
from market_data_pipeline.core.klines.table import EMPTY, cut, open_times
from market_data_pipeline.core.sources.archive.files import Archive
from market_data_pipeline.core.sources.archive.listing import start_of, utc_date
from market_data_pipeline.core.sources.planning.forecast import AROUND_MS, Expected, Forecast
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.protocol import Life, Page, Pages, Recheck, Usage
from market_data_pipeline.core.sources.rest.klines import RestSource
from market_data_pipeline.core.sources.union.files import HAS_LATER, HAS_NONE, ArchiveFiles
from market_data_pipeline.core.sources.union.lives import Lives
from market_data_pipeline.core.sources.union.pages import ARCHIVE, UnionPages

# A halt does not begin and end in the same minute for every pair.
_EDGE_MINUTES, _LONG_MINUTES = 2, 20

_log = logging.getLogger(__name__)


class ExchangeSource:
    """Klines of one pair from REST, from the archive, or from both."""

    def __init__(
        self,
        name: str,
        rest: RestSource,
        archive: Archive,
        reference: tuple[str, RestSource],
        end_of: Callable[[], date | None] = lambda: None,
    ) -> None:
        """Send no request yet.

        Args:
            name: `rest`, `archive`, or `auto`: the archive for days that it should have, REST for all others.
            rest: the REST API.
            archive: the archive's files.
            reference: the name and source of another pair, one that is traded whenever the market is open.
            end_of: see `Lives`.
        """
        self._name, self._rest, self._archive, self._reference = name, rest, archive, reference
        self._lives = Lives(name, rest, archive, end_of)
        self._files = ArchiveFiles(archive, alone=name == "archive")
        self._pages = UnionPages(name, rest, self._files, self._lives)

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

    def newest(self, span: Span, *, paid: bool = False) -> Page:
        """See `KlineSource.newest`. Only REST has the newest minutes."""
        return self._rest.newest(span, paid=paid)

    def settled_ms(self) -> int | None:
        """See `KlineSource.settled_ms`. Only REST tells it."""
        return self._rest.settled_ms()

    def prefetch(self, spans: Iterable[Span]) -> None:
        """See `KlineSource.prefetch`."""
        if self._name == "rest":
            self._rest.prefetch(spans)
        else:
            self._pages.start(spans)

    def pages(self, spans: Iterable[Span]) -> Pages:
        """See `KlineSource.pages`."""
        return self._rest.pages(spans) if self._name == "rest" else self._pages.read(spans)

    def recheck(self, gap: Span) -> Recheck:
        """See `KlineSource.recheck`.

        It is proven that minutes have no klines where REST has none, requested twice, or none of the pair at all, and
        either the archive has none, or on spot the reference pair has none. The archive has none if the file of the
        day has none, or if later days have a file and this one has not; a bad file proves nothing. Where the reference
        pair has klines of the minutes, this pair alone was `suspended`; else it is an `outage`. Futures have klines
        also while the market is halted, so there another pair that has none proves nothing by itself. Minutes near the
        present after which the reference pair has none either are `open`: the exchange may only be late.
        A source that is not to be loaded from is a witness, and no more.
        """
        by_rest = self._by_rest(gap)
        count = by_rest.klines.num_rows
        if count and self._name != "archive":
            return replace(by_rest, bad_rows=())  # the minutes that are still absent are asked for again
        archived, of_archive = self._files.evidence(gap, self.now_ms())
        if archived.klines.num_rows and self._name != "rest":
            return Recheck(archived.klines, ARCHIVE, flaws=archived.flaws)
        of_archive_too = archived.bad_rows if self._name != "rest" else ()
        if bad_rows := merged((*by_rest.bad_rows, *of_archive_too)):
            return Recheck(EMPTY, bad_rows=bad_rows)
        by_reference, of_reference = self._other_pair(gap)
        of_rest = (f"rest: has {count} of them",) if count else by_rest.evidence
        is_there = count > 0 or archived.klines.num_rows > 0
        kind = Kind.UNEXPLAINED if is_there else self._kind(of_archive, by_reference)
        # A reference pair that has klines now was not halted, as an outage says.
        refuted = PROVEN if is_there else frozenset([Kind.OUTAGE] if by_reference is Kind.SUSPENDED else [])
        return Recheck(EMPTY, evidence=(*of_rest, of_archive, *of_reference), kind=kind, refuted=refuted)

    def _by_rest(self, gap: Span) -> Recheck:
        """What REST has of a gap; no more than the evidence that it cannot be asked, or has nothing of the pair."""
        if not self._lives.refusal:
            try:
                return self._rest.recheck(gap)
            except REFUSED as error:
                if self._name == "rest":
                    raise
                self._lives.note_unreachable(error)
        return Recheck(EMPTY, evidence=(self._lives.refusal,))

    def _kind(self, of_archive: str, by_reference: Kind | None) -> Kind:
        """What the evidence of the archive and of the reference pair (None: it says nothing) proves of a gap."""
        in_archive = of_archive in {HAS_NONE, HAS_LATER}
        if self._lives.is_unreachable:
            return Kind.UNEXPLAINED
        if by_reference is Kind.OUTAGE and (in_archive or self._rest.client.market is Market.SPOT):
            return Kind.OUTAGE
        if not in_archive:
            return Kind.OPEN if by_reference is Kind.OPEN else Kind.UNEXPLAINED
        if by_reference is Kind.SUSPENDED:
            return Kind.SUSPENDED
        return Kind.OUTAGE if of_archive == HAS_NONE else Kind.UNEXPLAINED

    def usage(self) -> Usage:
        """See `KlineSource.usage`."""
        return self._rest.usage()

    def expect(self, days: Iterable[Sequence[Span]], absent: Sequence[Span] = ()) -> list[Expected]:
        """See `KlineSource.expect`."""
        days, division = list(days), self._pages.division
        pieces, sizes = list(division.pieces(merge(span for spans in days for span in spans))), dict[date, int | None]()
        if by_day := [piece for piece in pieces if not division.is_of_rest(piece)]:
            sizes = self._archive.sizes(utc_date(by_day[0].start_ms), utc_date(by_day[-1].end_ms - 1))
        forecast = Forecast(division, self._rest.weight_of, {start_of(day): size for day, size in sizes.items()})
        return forecast.of(pieces, days, absent, self._rest.first_in)

    def traffic(self) -> Traffic:
        """See `KlineSource.traffic`."""
        return self._rest.client.traffic() + self._archive.traffic

    def close(self) -> None:
        """End all waiting, then the threads."""
        self._archive.close()
        self._rest.close()
        self._pages.close()
        self._reference[1].close()

    def _other_pair(self, gap: Span) -> tuple[Kind | None, tuple[str, ...]]:
        """Return what the gap is going by the reference pair alone, None if that says nothing; and the evidence."""
        pair, source = self._reference
        if self._lives.is_unreachable:
            return None, ()
        try:
            klines = source.klines(Span(gap.start_ms - AROUND_MS, gap.end_ms + AROUND_MS))
        except MarketDataError as error:
            return None, (f"{pair}: {error}",)
        inside = cut(klines, gap).num_rows
        if klines.num_rows == inside == 0:
            return None, (f"{pair}: none around them either",)
        if int(open_times(klines)[-1]) < gap.end_ms and self.now_ms() < gap.end_ms + AROUND_MS:
            return Kind.OPEN, (f"{pair}: none after them yet",)
        halted = inside <= (_EDGE_MINUTES if gap.minutes > _LONG_MINUTES else 0)
        has = "none" if not inside else "all" if inside == gap.minutes else f"{inside}"
        return Kind.OUTAGE if halted else Kind.SUSPENDED, (f"{pair}: {has} of them",)
