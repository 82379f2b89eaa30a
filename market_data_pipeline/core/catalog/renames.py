"""Pairs that go on under another symbol, from a small reviewed table with a source for each line.

Belongs here: reading `renames.toml`, and finding the successor or the predecessor of a pair. Does not belong here:
joining klines, which nothing does: the ratio and the days between are for the reader to judge.
"""

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.pair import token_of

_TABLE = "renames.toml"


@dataclass(frozen=True, slots=True)
class Rename:
    """One pair that goes on as another.

    Attributes:
        market: the market.
        old: the pair before, `FTM/USDT`.
        new: the pair after, `S/USDT`.
        day: the first UTC day of the pair after; None where no source states it.
        ratio: how many units of the new base asset one unit of the old one became.
        sources: addresses of the announcement, or of public reports of it.
    """

    market: Market
    old: str
    new: str
    day: date | None
    ratio: float
    sources: tuple[str, ...]


@cache
def all_renames() -> tuple[Rename, ...]:
    """Every rename that is known, as the table has them."""
    document = tomllib.loads(files(__package__).joinpath(_TABLE).read_text(encoding="utf-8"))
    return tuple(
        Rename(
            Market(entry["market"]),
            f"{entry['old']}/{quote}",
            f"{entry['new']}/{quote}",
            entry.get("day"),
            float(entry["ratio"]),
            tuple(entry["sources"]),
        )
        for entry in document["rename"]
        for quote in entry["quotes"]
    )


def successor(market: Market, symbol: str) -> Rename | None:
    """What became of a pair; None if that is not known."""
    return next((each for each in all_renames() if (each.market, token_of(each.old)) == (market, symbol)), None)


def predecessor(market: Market, symbol: str) -> Rename | None:
    """What a pair was before; None if that is not known."""
    return next((each for each in all_renames() if (each.market, token_of(each.new)) == (market, symbol)), None)
