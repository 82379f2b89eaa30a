"""REST sources of a running exchange, each with the data root of the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from market_data_pipeline.core.dataset import Market
from market_data_pipeline.core.sources.rest import RestSource
from market_data_pipeline.simulator.server import RunningExchange

OpenRest = Callable[..., RestSource]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root that does not exist yet."""
    return tmp_path / "root"


@pytest.fixture
def rest(root: Path) -> Iterator[OpenRest]:
    """Open sources of an exchange."""
    with ExitStack() as stack:

        def opened(running: RunningExchange | str, market: str = "spot", token: str = "BTCUSDT") -> RestSource:
            url = running if isinstance(running, str) else running.url
            return stack.enter_context(closing(RestSource(Market(market), token, root=root, base_url=url)))

        yield opened
