"""Sources of a running exchange, each with the data root of the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.opening import open_source
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.sources.rest.client import RestClient
from market_data_pipeline.core.sources.rest.klines import RestSource
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import budget_in

OpenRest = Callable[..., RestSource]
OpenExchange = Callable[..., KlineSource]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root that does not exist yet."""
    return tmp_path / "root"


@pytest.fixture
def rest(root: Path) -> Iterator[OpenRest]:
    """Open sources of an exchange."""
    with ExitStack() as stack:

        def opened(
            running: RunningExchange | str, market: str = "spot", token: str = "BTCUSDT", **limits: float
        ) -> RestSource:
            url = running if isinstance(running, str) else running.url
            client = RestClient(Market(market), budget_of=budget_in(root), base_url=url, **limits)
            return stack.enter_context(closing(RestSource(client, token)))

        yield opened


@pytest.fixture
def exchange(root: Path) -> Iterator[OpenExchange]:
    """Open sources as users name them."""
    with ExitStack() as stack:

        def opened(
            running: RunningExchange | str, name: str = "auto", market: str = "futures", pair: str = "BTC/USDT"
        ) -> KlineSource:
            url = running if isinstance(running, str) else running.url
            return stack.enter_context(
                closing(open_source(name, Market(market), pair, budget_of=budget_in(root), base_url=url))
            )

        yield opened
