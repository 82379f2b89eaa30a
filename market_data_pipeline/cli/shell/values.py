"""The values that a shell completes: markets, pairs, zones, universes.

Belongs here: where they come from: the data root, if it is a folder, and nothing over a network. Does not belong here:
what a command makes of a value. A shell waits for each of these, so they are kept from one time to the next, and
whatever goes wrong completes nothing. Imports are inside the functions, as every command imports this module.
"""

from collections.abc import Callable, Iterable
from typing import Any

import typer

MARKETS = ("spot", "futures")
STATUSES = ("trading", "paused", "ended", "all")

Complete = Callable[[typer.Context, str], list[str]]


def one_of(words: Iterable[str]) -> Complete:
    """Completes one of these words."""
    known = tuple(words)

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return _beginning(known, incomplete)

    return complete


def zone(context: typer.Context, incomplete: str) -> list[str]:
    """Completes an IANA time zone."""
    from market_data_pipeline.core.klines.days import zone_names

    return _beginning(sorted(zone_names()), incomplete)


def pair(context: typer.Context, incomplete: str) -> list[str]:
    """Completes a pair that is stored, or that the newest catalog of the market has; `!` leaves one out."""
    from market_data_pipeline.app.noting.questions import question_of_pairs

    market = context.find_root().params.get("market") or _default_market()
    known = _answer(question_of_pairs(market), lambda found: found.pairs(market))
    mark = "!" if incomplete.startswith("!") else ""
    return [mark + name for name in _beginning(known, incomplete.removeprefix("!"))]


def quote(context: typer.Context, incomplete: str) -> list[str]:
    """Completes the quote asset of a pair that is known."""
    quotes = {name.partition("/")[2].partition("_")[0] for name in pair(context, "")}
    return _beginning(sorted(quotes - {""}), incomplete)


def universe(context: typer.Context, incomplete: str) -> list[str]:
    """Completes a universe of `market-data.toml`."""
    from market_data_pipeline.app.noting.questions import UNIVERSES

    return _beginning(_answer(UNIVERSES, lambda found: found.universes()), incomplete)


def _default_market() -> str:
    """The market of the settings, empty if MARKET_TYPE is none: another market's pairs would mislead."""
    from market_data_pipeline.settings import load_usable

    settings, refused = load_usable()
    return "" if "MARKET_TYPE" in refused else settings.market_type


def _answer(question: str, find: Callable[[Any], list[str]]) -> list[str]:
    from market_data_pipeline.app.noting.answers import kept

    try:
        if (answer := kept(question)) is not None:
            return list(answer)
        from market_data_pipeline.app.noting import completing

        return find(completing)
    except Exception:  # a shell shows whatever is printed in the middle of the line that is being typed
        return []


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
