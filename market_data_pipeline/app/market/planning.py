"""What a load of one pair or of many will take, before it: nothing is written.

Belongs here: several pairs at once, and their sum. Does not belong here: the cost of one pair (`core.loading.cost`),
which pairs are meant (`app.targets`, `universe`), loading (`bulk`, `app.backfill`).
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.app.market.pairs import Asked
from market_data_pipeline.core.errors import PASSING, MarketDataError, NoKlinesInWindow, SourceUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.loading.cost import Cost, How, cost_of
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.loading.resolve import OpenSource
from market_data_pipeline.core.sources.interrupts import ended_if_interrupted, result_of
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.text import problem_text
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.settings import Settings

_AT_ONCE = 8
# Each such pair was tried for half a minute.
_MOST_UNREACHABLE = 5


@dataclass(frozen=True, slots=True, repr=False)
class LoadPlan:
    """What a load will take, by pair, and the catalog's requests before it."""

    costs: tuple[Cost, ...]
    catalog: Asked

    def __repr__(self) -> str:
        """The sum, as a notebook shows it: there may be a thousand pairs."""
        return (
            f"LoadPlan(pairs={len(self.costs)}, failed={len(self.failed)}, total={self.total if self.costs else None})"
        )

    @property
    def total(self) -> Cost:
        """The sum, with that of the catalog."""
        days, sources = Counter[str](), Counter[str]()
        for cost in self.costs:
            days.update(cost.days)
            sources.update(cost.sources)
        return Cost(
            name="all",
            days=days,
            sources=sources,
            requests=self.catalog.traffic.requests + sum(cost.requests for cost in self.costs),
            weight=self.catalog.weight + sum(cost.weight for cost in self.costs),
            weight_per_minute=max(cost.weight_per_minute for cost in self.costs),
            download_bytes=self.catalog.traffic.received_bytes + sum(cost.download_bytes for cost in self.costs),
            stored_bytes=sum(cost.stored_bytes for cost in self.costs),
            klines=sum(cost.klines for cost in self.costs),
        )

    @property
    def failed(self) -> list[Cost]:
        """The pairs that cannot be loaded."""
        return [cost for cost in self.costs if cost.error]

    @property
    def may_pass(self) -> bool:
        """True if the same may succeed later: whatever failed did so by the exchange, the network or the disk."""
        return all(cost.may_pass for cost in self.failed)


def plan_backfill(
    settings: Settings,
    requests: Sequence[BackfillRequest],
    *,
    catalog: Asked,
    on_pair: Callable[[int, int], object] = lambda done, total: None,
) -> LoadPlan:
    """What loading the requested windows will take. The failure of one of several pairs changes nothing for others.

    Args:
        settings: the settings.
        requests: one for each dataset.
        catalog: what the choice of the pairs has taken.
        on_pair: called with how many pairs are known, and of how many.

    Raises:
        UsageError: a request is wrong.
        StoreError, SourceError: the only pair cannot be loaded.
    """
    is_one = len(requests) == 1
    wanted = [request.wanted() if is_one else replace(request.wanted(), strict=True) for request in requests]
    how = How(requests[0].refetch, requests[0].chunk_size)
    if is_one:
        return LoadPlan((cost_of(store_of(settings), _opener(settings), wanted[0], how),), catalog)
    many = _Many(settings, how)
    costs = list[Cost]()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="plan") as threads, ended_if_interrupted(many.end):
        planned = [threads.submit(many.cost, each) for each in wanted]
        try:
            for each in planned:
                costs.append(result_of(each))
                on_pair(len(costs), len(wanted))
        finally:
            for each in planned:
                each.cancel()
    return LoadPlan(tuple(costs), catalog)


def _opener(settings: Settings) -> OpenSource:
    """As for a load, but for the budget in the data root, which is used where the user's folder takes no file."""
    elsewhere = [folder for folder in settings.budgets if not folder.is_relative_to(settings.folder)]
    return opener_of(settings, budgets=elsewhere)


class _Many:
    """The costs of several pairs; once the exchange does not answer for some in a row, others are not tried."""

    def __init__(self, settings: Settings, how: How) -> None:
        self._store, self._open_source, self._how = store_of(settings), _opener(settings), how
        self._lock = threading.Lock()
        self._unreachable = 0
        self._open, self._ended = set[KlineSource](), False

    def end(self) -> None:
        """Let all requests fail: those in flight, and those of pairs that have not begun."""
        with self._lock:
            self._ended, sources = True, list(self._open)
        for source in sources:
            source.close()

    def cost(self, request: WindowRequest) -> Cost:
        with self._lock:
            unreachable = self._unreachable
        if unreachable >= _MOST_UNREACHABLE:
            error = f"not tried, because the exchange did not answer for {_MOST_UNREACHABLE} pairs in a row"
            return Cost(request.name, error=error, may_pass=True)
        is_unreachable, opened = False, set[KlineSource]()

        def open_source(market: Market, pair: str) -> KlineSource:
            source = self._open_source(market, pair)
            opened.add(source)
            with self._lock:
                self._open.add(source)
                ended = self._ended
            if ended:
                source.close()
            return source

        try:
            return cost_of(self._store, open_source, request, self._how)
        except (MarketDataError, OSError) as error:
            if isinstance(error, NoKlinesInWindow) and request.in_catalog:  # see `core.bulk.load`
                return Cost(request.name, warnings=(str(error),))
            is_unreachable = isinstance(error, SourceUnavailable)
            return Cost(request.name, error=problem_text(error), may_pass=isinstance(error, PASSING))
        finally:
            with self._lock:
                self._unreachable = self._unreachable + 1 if is_unreachable else 0
                self._open -= opened
