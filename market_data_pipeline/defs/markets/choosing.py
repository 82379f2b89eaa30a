"""The stored datasets that the config of a job names.

Belongs here: the fields for that, and what they mean. Does not belong here: the jobs, pairs that are not stored yet
(`defs.bulk`).
"""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market, parse_market
from market_data_pipeline.core.klines.patterns import Among, parse_patterns
from market_data_pipeline.core.store.universes import Universe, find_universe
from market_data_pipeline.defs.resources import Tools


class ChosenConfig(dg.Config):
    """Which datasets of the store."""

    market: str | None = Field(
        default=None, description="spot or futures; that of the universe, or else MARKET_TYPE, if unset"
    )
    pairs: list[str] = Field(
        default=[],
        description="BASE/QUOTE or the exchange's symbol; globs such as */USDT; !*DOWN/* leaves out what it matches",
    )
    universe: str | None = Field(default=None, description="the pairs of [universe.NAME] in market-data.toml, too")


def chosen_market(config: ChosenConfig, found: Universe | None, tools: Tools) -> Market:
    """The market that the config names, or else that of its universe, or else that of the settings.

    Raises:
        UsageError: there is no such market, or the universe is one of the other.
    """
    market = parse_market(config.market) if config.market else found.market if found else tools.market
    if found:
        found.refuse_other(market, "market in the run config")
    return market


def chosen_pairs(config: ChosenConfig, tools: Tools) -> tuple[Market, list[str]]:
    """The market and the pairs that the config names; globs choose among those that are stored.

    Raises:
        UsageError: it names none, or a market that cannot be used, see `chosen_market`.
        StoreError: the `dataset.json` of a stored pair is damaged that a glob may match.
    """
    found = find_universe(tools.store.root, config.universe) if config.universe else None
    market = chosen_market(config, found, tools)
    words = [*(found.pairs if found else ()), *config.pairs]
    if not words:
        raise UsageError("the run config names no pairs; give pairs, for example ['BTC/USDT', 'ETH/USDT']")
    patterns = parse_patterns(words, has_contracts=market.has_contracts)
    stored = tools.store.pairs(market, patterns.may_choose) if patterns.needs_candidates else ()
    return market, patterns.choose(stored, Among.STORED)


def chosen_datasets(config: ChosenConfig, tools: Tools) -> Sequence[Dataset]:
    """The datasets that the config names.

    Raises:
        UsageError: it names none, or one that is not stored.
        StoreError: the `dataset.json` of one is damaged.
    """
    return [tools.store.read(path) for path in tools.store.files_of(*chosen_pairs(config, tools))]
