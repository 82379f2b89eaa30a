"""The newest klines of a live dataset: how long they are requested, what was fetched, and whether more can follow.

Belongs here: these values, and when the life of a pair is requested again. Does not belong here: requesting klines
(`dataset`), the open day (`open_day`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from queue import SimpleQueue

import pyarrow as pa

from market_data_pipeline.core.errors import SourceError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.table import column, open_times
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.sources.protocol import KlineSource, Life

_FIRST_PAUSE_S = 0.25
# After this long without a kline, the pair may not be listed any more.
_SILENT_MINUTES = 10
_LIFE_KEPT_S = 600
NOT_TRIED = "not tried, as for the pair before: "
"""What the error of a pair begins with that was not requested, as another got no response."""


class Turns:
    """So many threads may be in its block at once.

    As a semaphore of `threading`, whose waiting and waking took an eighth of a tick of 500 pairs: it is written in
    Python.
    """

    def __init__(self, count: int) -> None:
        self._free = SimpleQueue[None]()
        for _ in range(count):
            self._free.put(None)

    def __enter__(self) -> None:
        self._free.get()

    def __exit__(self, *_: object) -> None:
        self._free.put(None)


@dataclass(slots=True)
class Patience:
    """How long the klines of a tick are requested, shared by all of its threads.

    Attributes:
        until_s: the end, monotonic seconds.
        stopped: ends all waiting when it is set.
        first_pause_s: seconds between the first two requests for a kline that is not there yet.
        at_once: held during a request, so it limits how many run at the same time.
        lives: the same of requests for the life of one pair, which may take long.
        paid: True if the weight of each dataset's first request is paid already.
        unavailable: set when a request got no response at all; the other datasets then send none.
    """

    until_s: float
    stopped: threading.Event
    first_pause_s: float = _FIRST_PAUSE_S
    at_once: AbstractContextManager[object] = field(default_factory=nullcontext)
    lives: AbstractContextManager[object] = field(default_factory=nullcontext)
    paid: bool = False
    unavailable: SourceUnavailable | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold `at_once` while the block sends a request.

        Raises:
            SourceUnavailable: the request of the block, or that of an earlier turn, got no response.
        """
        with self.at_once:
            # Checked and noted within the turn: who waits for it must not find it free before the reason is known.
            self._refuse_if_unavailable()
            try:
                yield
            except SourceUnavailable as error:
                self.unavailable = self.unavailable or error
                raise

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hold `lives` while the block asks for what only its own dataset needs.

        The archive may be asked, too. So an error of the block says nothing of the other datasets.

        Raises:
            SourceUnavailable: an earlier turn got no response; or what the block raises.
        """
        with self.lives:
            self._refuse_if_unavailable()
            yield

    def _refuse_if_unavailable(self) -> None:
        if self.unavailable:
            raise SourceUnavailable(f"{NOT_TRIED}{self.unavailable}")


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest klines of a dataset, by day.

    Attributes:
        wanted: the minutes that were requested.
        settled_ms: the end of the newest kline, ms UTC: absent minutes before it were requested twice.
        days: what was fetched of each day; none if there is no kline.
        life: when the exchange has klines of the pair.
    """

    wanted: Span
    settled_ms: int
    days: tuple[FetchedDay, ...]
    life: Life


class PairLife:
    """What is known of the life of a pair. It is requested again once the klines, or that there are none, say so."""

    def __init__(self, source: KlineSource, market: Market) -> None:
        """Send no request."""
        self._source, self._market = source, market
        self._life: Life | None = None
        self._read_s = -float("inf")
        self.ended = False
        """Whether the pair is not traded any more, by the life or by klines that came later."""

    @property
    def is_recent(self) -> bool:
        """True if it was in doubt and requested within the last ten minutes."""
        return time.monotonic() - self._read_s < _LIFE_KEPT_S

    def read(self, patience: Patience) -> Life:
        """Request it.

        Raises:
            SourceError: no response, or one that cannot be right.
        """
        life = self._request(patience)
        self._read_s = time.monotonic()
        return life

    def after(self, wanted: Span, klines: pa.Table, patience: Patience) -> Life:
        """The life, now that the request for the wanted minutes was answered with these klines.

        Raises:
            SourceError: see `read`.
        """
        if self._life is None:
            return self._request(patience)
        if self._is_doubtful(self._life, wanted, klines):
            return self.read(patience)
        if klines.num_rows:
            self.ended = False
        return self._life

    def _request(self, patience: Patience) -> Life:
        with patience.aside():
            self._life = self._source.life(refresh=True)
        self.ended = self._life.last_open_ms is not None
        return self._life

    def _is_doubtful(self, life: Life, wanted: Span, klines: pa.Table) -> bool:
        """After its end a pair of spot has no klines, and one of futures flat ones; after a pause there are some again.

        Which it is without klines, the exchange does not say at once.
        """
        if klines.num_rows == 0:
            return wanted.minutes > _SILENT_MINUTES and not self.is_recent
        is_resumed = life.last_open_ms is not None and int(open_times(klines)[-1]) > life.last_open_ms
        return is_resumed or self._is_settled(klines)

    def _is_settled(self, klines: pa.Table) -> bool:
        """True if the last kline is flat, and the contract was settled."""
        if not self._market.has_contracts or (trades := column(klines, "trades"))[-1]:
            return False
        try:
            return self._source.settled_ms() is not None
        except SourceError:
            if trades.any():  # most likely a quiet minute, and after an end the next ones tell
                return False
            raise
