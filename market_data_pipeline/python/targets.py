"""Which settings and which datasets a call is about.

Belongs here: from what a caller names to targets. Does not belong here: which pairs a glob matches (`app.targets`),
what is done with the datasets (the other modules of `python`).
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from market_data_pipeline import settings as environment
from market_data_pipeline.app.targets import Target, target_of, targets_of
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market, parse_market
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.settings import Settings


def settings_of(root: str | Path | None, source: str | None = None) -> Settings:
    """The settings of the environment, with another data root or source where they are given."""
    return environment.load(market_data_dir=root, market_data_source=source)


def targets_for(
    settings: Settings,
    pairs: str | Sequence[str] | None,
    market: str | None,
    tz: str | None = None,
    *,
    universe: str | None = None,
    among: Callable[[Settings, Market], Iterable[str]] | None = None,
) -> list[Target]:
    """The targets that a caller names, see `app.targets.targets_of`; the default one if none is named.

    Raises:
        UsageError: a word or the universe means nothing, or the universe is one of another market.
    """
    words = [pairs] if isinstance(pairs, str) else [*(pairs or ())]
    if universe is not None:
        found = find_universe(settings.root, universe)
        if market is not None:
            found.refuse_other(parse_market(market))
        market, tz, words = found.market.value, tz or found.zone, [*found.pairs, *words]
    elif not words and pairs is not None:
        raise UsageError("no pair is named; name one such as 'BTC/USDT', a glob such as '*/USDT', or a universe")
    return targets_of(settings, market, words, tz, among=among) if words else [target_of(settings, market, None, tz)]
