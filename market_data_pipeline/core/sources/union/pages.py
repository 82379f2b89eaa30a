"""The pages of a load: from the archive's files where it should have the day, from REST elsewhere.

Belongs here: which of the two a page is requested from, what replaces a file that is missing, bad or flawed, what is
done in which thread. Does not belong here: the requests to either (`sources.rest`, `sources.archive`), evidence for
absent minutes (`source`).
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any

from market_data_pipeline.core.errors import REFUSED, BadAnswer, SourceError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span, gaps, merge
from market_data_pipeline.core.klines.sifting import NOTHING, Sifted, both
from market_data_pipeline.core.klines.table import EMPTY, open_times
from market_data_pipeline.core.sources.archive.files import CONNECTIONS, PUBLISHED_AFTER_MS
from market_data_pipeline.core.sources.interrupts import LONGEST_DEAF_S
from market_data_pipeline.core.sources.planning.division import Division
from market_data_pipeline.core.sources.planning.forecast import MOST_GAPS
from market_data_pipeline.core.sources.prefetch import FuturesAhead, PrefetchedPages, error_of
from market_data_pipeline.core.sources.protocol import Page
from market_data_pipeline.core.sources.rest.klines import REST, RestSource
from market_data_pipeline.core.sources.union.files import NO_FILE, ArchiveFiles
from market_data_pipeline.core.sources.union.lives import Lives

ARCHIVE = frozenset({"archive"})
# A zip has 70 kB, and the klines of a UTC day 138 kB.
_MOST_PREFETCHED = 3 * CONNECTIONS
# How many pages are unpacked before the first of them is read, so that REST is asked for several at once.
_UNPACKED_AHEAD = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Packed:
    """The zip of the UTC day that a span is in."""

    span: Span
    content: bytes


class UnionPages:
    """The pages of one pair, of the archive and REST together, or of the archive alone.

    Threads download, and the reader of the pages unpacks: that needs Python's lock, for which threads would only wait.
    """

    def __init__(self, name: str, rest: RestSource, files: ArchiveFiles, lives: Lives) -> None:
        """Send no request yet; `name` is `auto` or `archive`."""
        self._name, self._rest, self._files, self._lives = name, rest, files, lives
        self._prefetched = PrefetchedPages("archive", self._load, threads=CONNECTIONS, most_prefetched=_MOST_PREFETCHED)

    def start(self, spans: Iterable[Span]) -> None:
        """Start requests for the first pages of the spans, and return at once."""
        self._prefetched.start(self._pieces(spans))

    def read(self, spans: Iterable[Span]) -> "UnpackedPages":
        """The pages of the spans in order."""
        return UnpackedPages(self._prefetched.futures(self._pieces(spans)), self._unpacked)

    @property
    def division(self) -> Division:
        """Which minutes are requested from which source."""
        published_ms = self._lives.now_ms() - PUBLISHED_AFTER_MS
        return Division(self._name, self._rest.page_ms, published_ms, refused=bool(self._lives.refusal))

    def close(self) -> None:
        """Cancel the pages that were not read, and wait for the threads."""
        self._prefetched.close()

    # --- inside

    def _pieces(self, spans: Iterable[Span]) -> Iterator[Span]:
        yield from self.division.pieces(spans)

    def _load(self, span: Span) -> "Page | _Packed":
        """Return the file of the span's day; the page where there is no file, or where REST is asked first."""
        if self.division.is_of_rest(span):
            try:
                return self._of_rest_first(span)
            except REFUSED as error:
                self._lives.note_unreachable(error)
        packed, lacks = self._files.packed(span)
        return self._of_both(span, NOTHING, lacks) if packed is None else _Packed(span, packed)

    def _unpacked(self, loaded: "Future[Page | _Packed]") -> "Future[Page]":
        """What has the page or the error, now or when REST has answered."""
        page = Future[Page]()
        if error := error_of(loaded):
            page.set_exception(error)
            return page
        file = loaded.result()
        if isinstance(file, Page):
            page.set_result(file)
            return page
        rows = self._files.unpacked(file.span, file.content)
        if rows is None:
            return self._prefetched.submit(self._of_second_download, file.span)
        if not self._suffices(file.span, rows):
            return self._prefetched.submit(self._of_both, file.span, rows, "")
        page.set_result(_page(file.span, rows, ARCHIVE))
        return page

    def _of_second_download(self, span: Span) -> Page:
        return self._of_both(span, *self._files.rows(span))

    @property
    def _only_archive(self) -> bool:
        """True if REST is not to be asked for klines, or refuses to have any of the pair."""
        return self._name == "archive" or self._is_refused

    @property
    def _is_refused(self) -> bool:
        return bool(self._lives.refusal) and not self._lives.is_unreachable

    def _suffices(self, span: Span, of_file: Sifted) -> bool:
        """True if REST has nothing to add to the rows of a file."""
        return self._only_archive or not (of_file.flaws or gaps(open_times(of_file.klines), span))

    def _of_both(self, span: Span, of_file: Sifted, lacks: str) -> Page:
        """Return the page of a file's rows, and of what REST has of the minutes that it lacks or has flawed."""
        if self._is_refused:
            # Only the archive can have the pair's klines; what it lacks is looked into by `recheck`.
            if lacks.startswith(NO_FILE):
                lacks = self._files.withheld(span)
            return _page(span, of_file, ARCHIVE, lacks or None)
        if self._name == "archive" or (not lacks and self._suffices(span, of_file)):
            return _page(span, of_file, ARCHIVE, f"{lacks}; REST may have the day" if lacks else None)
        if lacks:
            _log.warning("%s; asking REST", lacks)
        try:
            by_rest = self._second_opinion(span, of_file)
        except BadAnswer as error:
            return Page(span, EMPTY, REST, str(error))
        except REFUSED as error:
            # The next days may be whole in the archive.
            return Page(span, EMPTY, REST, str(self._lives.note_unreachable(error)))
        found = both(of_file, by_rest)
        # Where REST has but the same flawed klines, the archive's are all there is.
        from_archive = ARCHIVE if of_file.klines.num_rows else frozenset()
        from_rest = frozenset() if found.klines.equals(of_file.klines) else REST
        return _page(span, found, from_archive | from_rest or REST)

    def _of_rest_first(self, span: Span) -> Page:
        """Return a page of REST; with the archive's rows beside it where REST's break a rule."""
        try:
            by_rest = self._rest.sifted(span)
        except BadAnswer as error:
            return Page(span, EMPTY, REST, str(error))
        if by_rest.clean:
            return _page(span, by_rest, REST)
        archived, _ = self._files.evidence(span, self._lives.now_ms())
        doubted = merge([*by_rest.doubtful, *gaps(open_times(by_rest.klines), span)])
        of_archive = reduce(both, map(archived.part, doubted), NOTHING)
        return _page(span, both(of_archive, by_rest), REST | ARCHIVE if of_archive.klines.num_rows else REST)

    def _second_opinion(self, span: Span, of_file: Sifted) -> Sifted:
        """Return what REST has of the minutes that the file lacks or has flawed; of the whole span if they are many."""
        missing = gaps(open_times(of_file.klines), span)
        doubted = merge([*missing, *of_file.doubtful])
        asked = doubted if len(doubted) <= MOST_GAPS else [span]
        try:
            self._lives.require_reachable()
            return reduce(both, map(self._rest.sifted, asked), NOTHING)
        except REFUSED as error:
            if missing:
                raise
            self._lives.note_unreachable(error)
            return NOTHING
        except SourceUnavailable:
            raise
        except SourceError as error:
            if missing:
                raise
            # The file has these minutes, flawed as they are.
            _log.warning("%s; the archive's klines are kept", error)
            return NOTHING


class UnpackedPages:
    """Pages in order, unpacked by the reader's thread; see `protocol.Pages`.

    While REST is asked for what a file lacks, the next files are unpacked, as far as they are there.
    """

    def __init__(
        self, loaded: "FuturesAhead[Page | _Packed]", unpack: "Callable[[Future[Page | _Packed]], Future[Page]]"
    ) -> None:
        """Start nothing yet; `unpack` gives what has the page of a loaded file, now or later."""
        self._loaded, self._unpack = loaded, unpack
        self._unpacked = deque[Future[Page]]()

    def __iter__(self) -> "UnpackedPages":
        """The pages that are left."""
        return self

    def __next__(self) -> Page:
        """Wait for the next page, and return it, or raise why it cannot be had."""
        while not self.wait(LONGEST_DEAF_S):
            pass
        if not self._unpacked:
            raise StopIteration
        page = self._unpacked.popleft()
        if error := error_of(page):
            self.close()
            raise error
        return page.result()

    def wait(self, timeout_s: float) -> bool:
        """See `protocol.Pages`."""
        until_s = time.monotonic() + timeout_s
        while True:
            # Where REST is not asked, the page is read first, while its klines are in the processor's cache.
            while not self._has_all and (file := self._next_file) and file.done():
                self._unpacked.append(self._unpack(next(self._loaded)))
            if self._has_page:
                return True
            waited_for: list[Future[Any]] = [*islice(self._unpacked, 1), *filter(None, [self._next_file])]
            if not waited_for:
                return True
            if not wait(waited_for, max(0, until_s - time.monotonic()), FIRST_COMPLETED).done:
                return False

    def close(self) -> None:
        """Cancel what was not read."""
        self._loaded.close()
        for page in self._unpacked:
            page.cancel()
        self._unpacked.clear()

    @property
    def _has_page(self) -> bool:
        return bool(self._unpacked) and self._unpacked[0].done()

    @property
    def _has_all(self) -> bool:
        """True if there is a page, and REST is asked for none that follows."""
        return bool(self._unpacked) and all(page.done() for page in self._unpacked)

    @property
    def _next_file(self) -> "Future[Page | _Packed] | None":
        return self._loaded.first if len(self._unpacked) <= _UNPACKED_AHEAD else None


def _page(span: Span, found: Sifted, sources: frozenset[str], error: str | None = None) -> Page:
    return Page(span, found.klines, sources, error, not error and found.clean, found.flaws, found.bad_rows)
