"""What commands do while the power may be cut: the use cases that all commands call, on an exchange from memory.

Belongs here: one class for each thing that is done, and the commands in it, but for live mode (`following`). Does not
belong here: what is recorded of them (`recording`), what has to hold (`checking`).

A command that was interrupted is given again; `again` is what a person would do where that is another one.
"""

import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any

from market_data_pipeline.core.catalog.pairs import ListedPair, PairKind, PairStatus, Snapshot, TradedDays
from market_data_pipeline.core.proof.prove import prove
from market_data_pipeline.core.proof.repair import repair
from market_data_pipeline.core.proof.rolling import Turns, roll
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline_tests.core.fakes import at, span
from market_data_pipeline_tests.powerloss.checking import MARKET, Promises
from market_data_pipeline_tests.powerloss.commands import BTC, Act, Command, Scenario
from market_data_pipeline_tests.powerloss.exchange import Exchange
from market_data_pipeline_tests.powerloss.following import Live


class Load(Scenario):
    """Days of a new dataset, more of them, all of them again with other values, and the proof of a night."""

    name = "load"
    zone = "Europe/Zurich"
    truth_days = ("2024-03-27", "2024-04-04")

    def __init__(self, interval_s: float = 0) -> None:
        super().__init__(interval_s)
        gap = span("2024-03-30T10:00Z", "2024-03-30T10:20Z")
        self.exchanges = {BTC: Exchange.of(span(*self.truth_days), without=[gap])}
        self.exchanges[BTC].revise(at("2024-03-30T12:00Z"), at("2024-03-31T12:00Z"), at("2024-03-31T13:00Z"))

    def commands(self) -> list[Command]:
        def first(root: Any, promises: Promises) -> None:
            self.load(root, promises, span("2024-03-29T05:00Z", "2024-04-01T22:00Z"), now="2024-04-04")

        def more(root: Any, promises: Promises) -> None:
            self.load(root, promises, span("2024-03-28T23:00Z", "2024-04-02T22:00Z"), now="2024-04-04")

        def anew(root: Any, promises: Promises) -> None:
            window = span("2024-03-29T23:00Z", "2024-03-31T22:00Z")
            self.load(root, promises, window, now="2024-04-04", version=1, refetch=True)

        def night(root: Any, promises: Promises) -> None:
            # An hour later: what was just written may still change without another time stamp.
            roll(self.open(root), Turns(clock=lambda: time.time() + 3600).begin())

        return [Command(first), Command(more), Command(anew), Command(night)]


class MovedStart(Scenario):
    """Earlier days than the first one of history, twice: all chunks are renamed."""

    name = "moved start"
    truth_days = ("2019-12-20", "2020-01-10")

    def prepare(self, root: Any, promises: Promises) -> None:
        self.load(root, promises, span("2020-01-02", "2020-01-06"))

    def commands(self) -> list[Command]:
        def earlier(root: Any, promises: Promises) -> None:
            self.load(root, promises, span("2019-12-30", "2020-01-03"))

        def still_earlier(root: Any, promises: Promises) -> None:
            self.load(root, promises, span("2019-12-28T12:00Z", "2019-12-31"))

        return [Command(earlier), Command(still_earlier)]


class Repair(Scenario):
    """A store with a chunk that has another byte, one that is empty, one that is gone, and a foreign file."""

    name = "repair"
    damaged = frozenset({"2024-03-03", "2024-03-04", "2024-03-06"})

    def prepare(self, root: Any, promises: Promises) -> None:
        self.load(root, promises, span("2024-03-02", "2024-03-08"))
        chunks = {path.stem[-10:]: path for path in root.glob("*/*/1m/chunks/*")}
        content = bytearray(chunks["2024-03-03"].read_bytes())
        content[len(content) // 3] ^= 1
        chunks["2024-03-03"].write_bytes(content)
        chunks["2024-03-04"].write_bytes(b"")
        chunks["2024-03-06"].unlink()
        (chunks["2024-03-03"].parent / "notes.txt").write_text("mine")
        promises.begun(BTC)

    def commands(self) -> list[Command]:
        def healed(root: Any, promises: Promises) -> None:
            files, exchange = self.open(root), self.exchanges[BTC]
            exchange.at(at("2024-03-12"))
            days = list(
                repair(
                    files,
                    prove(files),
                    lambda name: exchange,
                    source="rest",
                    on_load=lambda load: None,
                    on_day=lambda result: None,
                )
            )
            assert all(day.ok for day in days), days
            promises.add(repaired=True)
            promises.ended(BTC)

        return [Command(healed)]


class Combine(Scenario):
    """A combined file, a day more, and the combined file of then."""

    name = "combine"

    def prepare(self, root: Any, promises: Promises) -> None:
        self.load(root, promises, span("2024-03-02", "2024-03-04"))

    def commands(self) -> list[Command]:
        def combined(root: Any, promises: Promises) -> None:
            files = self.open(root)
            combine(files)
            promises.add(combined=frozenset({BTC}))

        def more(root: Any, promises: Promises) -> None:
            self.load(root, promises, span("2024-03-03", "2024-03-05"))

        return [Command(combined), Command(more), Command(combined)]


class Catalog(Scenario):
    """Snapshots of a market on two days, each after parts of it were learned."""

    name = "catalog"

    def __init__(self, interval_s: float = 0) -> None:
        super().__init__(interval_s)
        self.exchanges = {}

    def commands(self) -> list[Command]:
        def snapshot(day: date) -> Act:
            def write(root: Any, promises: Promises) -> None:
                catalog = CatalogStore(root, MARKET)
                with catalog.lock():
                    for count in (1, 2):
                        catalog.keep_learned(day, _pairs(day, count))
                    catalog.write(Snapshot(MARKET, day, tuple(_pairs(day, 3))))
                promises.add(snapshots=promises.so_far.snapshots | {day})

            return write

        return [Command(snapshot(date(2024, 3, day))) for day in (1, 2)]


def _pairs(day: date, count: int) -> Iterable[ListedPair]:
    for base in ("ADA", "BTC", "ETH")[:count]:
        life = TradedDays(day - timedelta(100), None)
        yield ListedPair(MARKET, f"{base}/USDT", base, "USDT", PairKind.SPOT, PairStatus.TRADING, (life,))


ALL: dict[str, Callable[[float], Scenario]] = {
    each.name: each for each in (Load, MovedStart, Repair, Combine, Live, Catalog)
}
