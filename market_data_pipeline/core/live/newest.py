"""The newest klines of a live dataset: how long they are requested, and what was fetched.

Belongs here: these two values. Does not belong here: requesting (`dataset`), the open day (`open_day`).
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.sources.protocol import Life

_FIRST_PAUSE_S = 0.25


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
