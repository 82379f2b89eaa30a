"""`market-data.toml` under the data root: named choices of pairs, which a person writes.

Belongs here: reading the file. Does not belong here: which pairs a word means (`klines.patterns`), loading them.

    [universe.usdt-perps]
    market = "futures"
    pairs = ["*/USDT", "!*DOWN/*"]
    zone = "UTC"            # the zone of datasets that are created; ALIGN_TZ if left out
    start = "2021-01-01"    # of loads; 2020-01-01T01:00Z if left out
    source = "auto"         # of loads; MARKET_DATA_SOURCE if left out
    live = true             # whether live mode keeps the pairs current that are traded; left alone if left out
"""

import tomllib
from dataclasses import dataclass
from typing import Any

from market_data_pipeline.core.errors import StoreUnavailable, UsageError
from market_data_pipeline.core.klines.dataset import Market, parse_market
from market_data_pipeline.core.klines.days import parse_instant, parse_zone
from market_data_pipeline.core.klines.patterns import parse_patterns
from market_data_pipeline.core.source_names import SOURCE_NAMES, SOURCE_NAMES_TEXT
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import refusal_of_disk

UNIVERSES_FILE = "market-data.toml"
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Universe:
    """A named choice of pairs of one market, and how they are loaded; texts are as the person wrote them.

    Attributes:
        name: what commands call it.
        market: the market.
        pairs: names, globs and what is left out, see `klines.patterns`.
        zone: the zone of datasets that are created, None for that of the settings.
        start: first instant of loads, None for the start of history.
        source: auto, rest or archive, None for that of the settings.
        live: whether live mode keeps the pairs current that are traded, None to leave their marks alone.
    """

    name: str
    market: Market
    pairs: tuple[str, ...]
    zone: str | None = None
    start: str | None = None
    source: str | None = None
    live: bool | None = None

    def refuse_other(self, market: Market, named_by: str = "market") -> None:
        """Check the market that a user has named beside the universe, by this option or argument.

        Raises:
            UsageError: it is the other one.
        """
        if market is not self.market:
            raise UsageError(f"the universe {self.name} is one of {self.market}; leave out {named_by}")


def read_universes(root: StorePath) -> dict[str, Universe]:
    """The universes of a data root by name, in the order of the file; none if there is no file.

    Raises:
        UsageError: it is no such file, or a universe in it cannot be used; the message names key and cure.
        StoreUnavailable: it cannot be read now.
    """
    path = root / UNIVERSES_FILE
    try:
        content = tomllib.loads(storage_of(path).read(path, _MOST_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreUnavailable(refusal_of_disk(error)) from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} cannot be read: {reason}") from error
    if unknown := sorted(content.keys() - {"universe"}):
        raise UsageError(f"{path}: unknown table [{unknown[0]}]; write [universe.NAME]")
    tables = content.get("universe", {})
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: universe is no table; write [universe.NAME]")
    return {name: _universe(name, table, f"{path}: [universe.{name}]") for name, table in tables.items()}


def find_universe(root: StorePath, name: str, as_of: str | None = None) -> Universe:
    """The universe of this name; `root` is the data root, or the folder of the snapshot `as_of`.

    Raises:
        UsageError: there is none, or as `read_universes`.
    """
    universes = read_universes(root)
    if name not in universes:
        known = f"it has {', '.join(universes)}" if universes else "it has none"
        if as_of is not None:
            raise UsageError(f"the snapshot {as_of} has no universe {name!r}: {known}; name the pairs in its place")
        raise UsageError(f"no universe {name!r} in {root / UNIVERSES_FILE}: {known}; write [universe.{name}] there")
    return universes[name]


def _universe(name: str, table: Any, where: str) -> Universe:
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table")
    kinds: dict[str, type] = {"market": str, "pairs": list, "zone": str, "start": str, "source": str, "live": bool}
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(f"{where}: unknown key {key}; it may have {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            raise UsageError(f"{where}: {key} must be {_NAMES[kinds[key]]}, not {value!r:.60}")
    if missing := [key for key in ("market", "pairs") if key not in table]:
        raise UsageError(f"{where} has no {missing[0]}")
    if wrong := [word for word in table["pairs"] if not isinstance(word, str)]:
        raise UsageError(f"{where}: pairs must be texts, not {wrong[0]!r:.60}")
    try:
        market, zone = parse_market(table["market"]), parse_zone(table.get("zone", "UTC"))
        parse_patterns(table["pairs"], has_contracts=market.has_contracts)
        if "start" in table:
            parse_instant(table["start"], zone)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if table.get("source", "auto") not in SOURCE_NAMES:
        raise UsageError(f"{where}: source must be {SOURCE_NAMES_TEXT}, not {table['source']!r:.60}")
    more = {key: value for key, value in table.items() if key not in {"market", "pairs"}}
    return Universe(name, market, tuple(table["pairs"]), **more)


_NAMES: dict[type, str] = {str: "a text in quotes", list: "a list of texts", bool: "true or false"}
