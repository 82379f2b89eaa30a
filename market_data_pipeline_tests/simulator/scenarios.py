"""Scenarios for tests: an exchange that plays one, and the next step of its lives.

Belongs here: starting and stepping, what a scenario needs besides the pair that a test is about. Does not belong here:
assertions, the exchange itself (`simulator.scenario`).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import RunningExchange
from market_data_pipeline_tests.support import simulated

# Pairs that have traded all the time. The loader asks one for the clock of a market, and a second one about an outage.
OTHERS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "spot": {"BTCUSDT": {"first": "2017-08-17T04:00Z"}, "ETHUSDT": {"first": "2017-08-17T04:00Z"}},
    "futures": {"BTCUSDT": {"first": "2019-09-08T17:57Z"}},
}


def with_others(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """The scenario, and beside its pairs those that a market always has; a pair of the scenario counts."""
    return {**scenario, **{market: {**OTHERS[market], **scenario.get(market, {})} for market in OTHERS}}


@contextmanager
def scenario_exchange(
    scenario: Mapping[str, Any] | Path, *, speed: float = 0, **options: Any
) -> Iterator[RunningExchange]:
    """Play a scenario, or the file of one, over HTTP; its clock stands still unless it says otherwise.

    A document plays beside the pairs that every market has, and `step` plays the next one. A file is played as it is,
    and `write_scenario` writes its next step. Options are those of `SimulatedExchange`.
    """
    played = scenario if isinstance(scenario, Path) else with_others(scenario)
    with simulated(SimulatedExchange(scenario=played, speed=speed, **options)) as running:
        yield running


def step(running: RunningExchange, scenario: Mapping[str, Any]) -> None:
    """Go on with the next step of the lives, beside the pairs that every market has."""
    running.exchange.play(with_others(scenario))


def write_scenario(path: Path, scenario: Mapping[str, Any]) -> Path:
    """Write the file of a scenario, or its next step, at once: nobody reads half of it."""
    written = path.with_suffix(".new")
    written.write_text(json.dumps(scenario, ensure_ascii=False), encoding="utf-8")
    written.replace(path)
    return path
