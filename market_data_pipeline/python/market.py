"""`pairs` and `universe`: what a market has and had, and what a named choice of pairs means.

Belongs here: from parameters to a use case of `app.market`. Does not belong here: the catalog (`core.catalog`), stored
klines (`reader`), the commands about data (`calls`).
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from market_data_pipeline.app.market import pairs as catalogs
from market_data_pipeline.core.catalog.pairs import ListedPair
from market_data_pipeline.core.klines.dataset import Market, parse_market
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.python.calls import as_in_python, warn
from market_data_pipeline.python.targets import settings_of

Day = date | str | None
"""A UTC day, its text `2022-05-01`, or the UTC day of a datetime with a zone."""


def pairs(
    patterns: str | Sequence[str] = (),
    *,
    market: str | None = None,
    quote: str | None = None,
    at: Day = None,
    status: str = "all",
    root: str | Path | None = None,
) -> list[ListedPair]:
    """The pairs of a market that ever had klines, by symbol, like `market-data pairs`.

    The first call of a day asks the exchange and its archive; where neither answers, the newest catalog that is kept is
    used, with a MarketDataWarning.

    Args:
        patterns: names in any spelling, globs, and what to leave out; all pairs if none is given.
        market: `spot` or `futures`; None for that of the settings.
        quote: only pairs with this quote asset.
        at: only pairs that were traded on this UTC day.
        status: `trading`, `paused`, `ended` or `all`.
        root: the data root; None for that of the settings.

    Raises:
        UsageError: a name or glob matches no pair, or the day, quote or status means nothing.
        SourceUnavailable: no catalog is kept, and neither the exchange nor its archive answers.
    """
    settings = settings_of(root)
    words = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen, lacking = _chosen(root, parse_market(market or settings.market_type), words, quote, at, status)
    warn(lacking)
    return chosen


def universe(name: str, *, at: Day = None, root: str | Path | None = None) -> list[str]:
    """The pairs that a universe of `market-data.toml` means, `BTC/USDT`, by symbol.

    Args:
        name: as in `[universe.NAME]`.
        at: only pairs that were traded on this UTC day.
        root: the data root; None for that of the settings.

    Raises:
        UsageError, SourceUnavailable: there is no such universe, or as `pairs`.
    """
    with as_in_python():
        found = find_universe(settings_of(root).root, name)
    chosen, lacking = _chosen(root, found.market, found.pairs, None, at, "all")
    warn(lacking)
    return [pair.pair for pair in chosen]


def _chosen(
    root: str | Path | None, market: Market, words: Sequence[str], quote: str | None, at: Day, status: str
) -> tuple[list[ListedPair], Sequence[str]]:
    """The pairs, and what the catalog lacks."""
    choice = catalogs.choice_of(market, words, quote, catalogs.utc_day(at), status)
    with as_in_python():
        catalog = catalogs.load_catalog(settings_of(root), market)
    return catalogs.choose(catalog, choice), catalog.warnings
