"""What a scenario is made of: commands on stores, with an exchange from memory.

Belongs here: the parts that all scenarios have. Does not belong here: the scenarios (`scenarios`, `following`).
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.loading.window import dataset_start
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import at, span
from market_data_pipeline_tests.powerloss.checking import MARKET, Promises, Truth
from market_data_pipeline_tests.powerloss.exchange import Exchange

BTC, ETH = "BTC/USDT", "ETH/USDT"
Act = Callable[[Any, Promises], None]


class Command(NamedTuple):
    """What a command does, and what is done in its place after it was interrupted, if that is something else."""

    run: Act
    again: Act | None = None


class Scenario:
    """Commands that come one after the other. `interval_s` is the least time between two writes of a manifest."""

    name = ""
    zone = "UTC"
    truth_days = ("2024-03-01", "2024-03-12")

    def __init__(self, interval_s: float = 0) -> None:
        self.interval_s = interval_s
        self.exchanges = {
            BTC: Exchange.of(span(*self.truth_days), without=[span("2024-03-05T10:00Z", "2024-03-05T10:20Z")])
        }

    @cached_property
    def truth(self) -> Truth:
        return Truth({pair: exchange.versions for pair, exchange in self.exchanges.items()}, self.damaged)

    damaged: frozenset[str] = frozenset()

    def prepare(self, root: Any, promises: Promises) -> None:
        """Make what is there before the first command; all of it is on disk."""

    def end_preparing(self) -> None:
        """Called when what is there was copied."""

    def commands(self) -> list[Command]:
        raise NotImplementedError

    def acts(self, step: int) -> list[Act]:
        """What is done after the command of this number was interrupted: that again, and those that follow it."""
        first, *others = self.commands()[step:] or self.commands()[-1:]
        return [first.again or first.run, *(command.run for command in others)]

    # --- what commands are made of

    def store(self, root: Any) -> Store:
        return Store(root, manifest_interval_s=self.interval_s)

    def open(self, root: Any, pair: str = BTC) -> DatasetStore:
        store = self.store(root)
        dataset = store.find(MARKET, pair)
        assert dataset is not None
        return store.open(dataset)

    def load(
        self,
        root: Any,
        promises: Promises,
        window: Span,
        pair: str = BTC,
        *,
        now: str = "2024-03-12",
        version: int = 0,
        refetch: bool = False,
    ) -> None:
        """A backfill."""
        exchange = self.exchanges[pair]
        exchange.at(at(now), version)
        store = self.store(root)
        store.require_writable()
        zone = parse_zone(self.zone)
        files = store.create(MARKET, pair, zone=zone, start=dataset_start(zone, exchange.life(), window))
        promises.begun(pair)
        for result in backfill(files, exchange, window, refetch=refetch):
            assert result.outcome in {Outcome.LOADED, Outcome.UNCHANGED}, result
            if result.outcome is Outcome.LOADED and result.klines is not None:
                promises.stored(pair, result.klines, version if refetch else 0)
            if result.revision:
                promises.revised(pair)
        promises.stored(pair, exchange.told(window), 0)
        promises.ended(pair)
