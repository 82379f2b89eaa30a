"""Running exchanges for the tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve
from market_data_pipeline_tests.simulator.client import ExchangeClient

NOON = datetime(2024, 5, 15, 12, 0, 30, tzinfo=UTC)
Start = Callable[..., ExchangeClient]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start exchanges whose clock stands still at 12:00:30 unless told otherwise."""
    with ExitStack() as stack:

        def started(**options: Any) -> ExchangeClient:
            settings: dict[str, Any] = {"now": NOON, "speed": 0, **options}
            client = ExchangeClient(stack.enter_context(serve(SimulatedExchange(**settings))))
            stack.callback(client.http.close)
            return client

        yield started


@pytest.fixture(scope="module")
def shared(start: Start) -> ExchangeClient:
    """Answer with weights off; for tests that change nothing."""
    return start(weights=False)


@pytest.fixture
def fresh(start: Start) -> ExchangeClient:
    """Answer to one test only."""
    return start()
