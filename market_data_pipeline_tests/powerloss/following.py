"""Live mode while the power may be cut: a scenario of its own.

Belongs here: following two datasets over midnight. Does not belong here: other commands (`scenarios`).
"""

import threading
from contextlib import closing
from typing import Any

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import at, span
from market_data_pipeline_tests.powerloss.checking import Promises
from market_data_pipeline_tests.powerloss.commands import BTC, ETH, Command, Scenario
from market_data_pipeline_tests.powerloss.exchange import Exchange, Sources

HOUR_MS = 60 * MINUTE_MS


class Live(Scenario):
    """Two datasets that are followed over midnight, after a process that was killed; then a run confirms the days."""

    name = "live"
    truth_days = ("2024-03-08", "2024-03-12")
    began, ends = "2024-03-09T23:40Z", "2024-03-10T00:14Z"
    day = span("2024-03-09", "2024-03-10")

    def __init__(self, interval_s: float = 0) -> None:
        super().__init__(interval_s)
        within = span(*self.truth_days)
        self.exchanges = {BTC: Exchange.of(within), ETH: Exchange.of(within, shift=3)}
        # The first one is noticed by the ticks of live mode, the second by the run that confirms the day.
        for exchange in self.exchanges.values():
            exchange.revise(at("2024-03-09T23:50Z"))
            exchange.revise(at("2024-03-09T23:30Z"))

    def prepare(self, root: Any, promises: Promises) -> None:
        """Make a store whose live process is killed after some minutes."""
        for pair in self.exchanges:
            self.load(root, promises, Span(self.day.start_ms, at(self.began)), pair, now=self.began)
            self.open(root, pair).mark_live(True)
        promises.add(live=dict.fromkeys(self.exchanges, True))
        self._running = self.follow(root)
        self.tick(self._running, promises, at(self.began), self._killed_ms)

    def end_preparing(self) -> None:
        self._running.close()

    def commands(self) -> list[Command]:
        revised_ms, end_ms = at("2024-03-09T23:52Z"), at(self.ends)
        last_ms = end_ms + 3 * MINUTE_MS

        def session(root: Any, promises: Promises) -> None:
            with closing(self.follow(root)) as live:
                self.tick(live, promises, self._killed_ms, revised_ms)
                self.tick(live, promises, revised_ms, end_ms, version=1)
            promises.ended(*self.exchanges)

        def session_again(root: Any, promises: Promises) -> None:
            with closing(self.follow(root)) as live:
                self.tick(live, promises, end_ms - MINUTE_MS, end_ms, version=1)
            promises.ended(*self.exchanges)

        def ends_by_an_error(root: Any, promises: Promises) -> None:
            with closing(self.follow(root)) as live:
                live.note_end("a test ended it")
                self.tick(live, promises, end_ms, last_ms, version=1)

        def goes_on(root: Any, promises: Promises) -> None:
            with closing(self.follow(root)) as live:
                self.tick(live, promises, last_ms - MINUTE_MS, last_ms, version=1)

        def confirmed(root: Any, promises: Promises) -> None:
            window = Span(self.day.start_ms, self.day.end_ms + 6 * HOUR_MS)
            for pair in self.exchanges:
                self.load(root, promises, window, pair, now="2024-03-10T06:30Z", version=2)

        def ends(root: Any, promises: Promises) -> None:
            self.follow(root).close()

        first, second = Command(session, session_again), Command(ends_by_an_error, goes_on)
        return [first, second, Command(confirmed), Command(ends)]

    @property
    def _killed_ms(self) -> int:
        return at(self.began) + 6 * MINUTE_MS

    def follow(self, root: Any) -> LiveMarket:
        """A process that follows all datasets, and takes over what others have left."""
        store = Store(root, manifest_interval_s=1e9)
        for exchange in self.exchanges.values():
            exchange.at(at(self.began))
        sources: Any = Sources(self.exchanges)
        live = LiveMarket(store, sources, who="a test", manifest_interval_s=self.interval_s, archived=False)
        assert live.follow(live.marked()) == {}
        assert len(live.followed) == len(self.exchanges)
        return live

    def tick(self, live: LiveMarket, promises: Promises, first_ms: int, until_ms: int, *, version: int = 0) -> None:
        """One tick for each minute, each with what comes after it."""
        for edge_ms in range(first_ms + MINUTE_MS, until_ms + MINUTE_MS, MINUTE_MS):
            for exchange in self.exchanges.values():
                exchange.at(edge_ms, version)
            for update in live.tick(edge_ms, patience_s=0, stopped=threading.Event()):
                assert update.error is None, update
                assert update.last_open_ms is not None
                pair = update.name.partition(" ")[2]
                exchange, end_ms = self.exchanges[pair], update.last_open_ms + MINUTE_MS
                promises.stored(pair, exchange.told(Span(self.day.start_ms, end_ms)), 0)
                # A tick reads these again, and stores them as they are now.
                promises.stored(pair, exchange.told(Span(edge_ms - 3 * MINUTE_MS, end_ms)), version)
                if update.revised:
                    promises.revised(pair)
            live.flush()
