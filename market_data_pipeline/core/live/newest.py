"""The newest klines of a live dataset: how long they are requested, and what was fetched.

Belongs here: these two values. Does not belong here: requesting (`dataset`), the open day (`open_day`).
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from queue import SimpleQueue

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.sources.protocol import Life

_FIRST_PAUSE_S = 0.25
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
        paid: True if the weight of each dataset's first request is paid already.
        unavailable: set when a request got no response at all; the other datasets then send none.
    """

    until_s: float
    stopped: threading.Event
    first_pause_s: float = _FIRST_PAUSE_S
    at_once: AbstractContextManager[object] = field(default_factory=nullcontext)
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
            if self.unavailable:
                raise SourceUnavailable(f"{NOT_TRIED}{self.unavailable}")
            try:
                yield
            except SourceUnavailable as error:
                self.unavailable = self.unavailable or error
                raise


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
