"""The configuration: which environment variables and files cannot be used.

Belongs here: settings that cannot be read, or that name what there is not; `market-data.toml`. Does not belong here:
their meanings (`settings`), whether a folder can be written (`places`), `dagster.yaml` (`storage`).
"""

from collections.abc import Callable, Iterator, Mapping

from market_data_pipeline.app.doctor.lines import Line, of_error
from market_data_pipeline.core.errors import MarketDataError, UsageError
from market_data_pipeline.core.klines.dataset import parse_market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.sources.opening import SOURCES
from market_data_pipeline.core.store.universes import UNIVERSES_FILE, read_universes
from market_data_pipeline.core.text import count_text
from market_data_pipeline.settings import Settings

SECTION = "settings"


def configuration(settings: Settings, refused: Mapping[str, str]) -> Iterator[Line]:
    """A line for each variable that cannot be used, or one that all can.

    Args:
        settings: the settings, with defaults in place of those that cannot be read.
        refused: what is wrong with each of these, by variable.
    """
    lines = [Line(SECTION, name, problem, f"correct {name}, or unset it") for name, problem in refused.items()]
    for name, read in _readers(settings).items():
        try:
            read()
        except UsageError as error:
            lines.append(of_error(SECTION, name, error, f"correct {name}, or unset it"))
    if not lines:
        market, pair = settings.market_type, settings.symbol
        yield Line(
            SECTION, "variables", f"all can be used; the default dataset is {market} {pair} in {settings.align_tz}"
        )
    yield from lines


def universes(settings: Settings) -> Iterator[Line]:
    """Whether the file of universes can be read, if there is one."""
    path = settings.root / UNIVERSES_FILE
    try:
        found = read_universes(settings.root)
    except MarketDataError as error:
        yield of_error(SECTION, UNIVERSES_FILE, error, f"correct {path}")
    else:
        yield Line(SECTION, UNIVERSES_FILE, f"{path}: {count_text(len(found), 'universe')}" if found else "none")


def _readers(settings: Settings) -> dict[str, Callable[[], object]]:
    """What reads each variable that is a text of its own kind."""

    def source() -> None:
        if settings.market_data_source not in SOURCES:
            raise UsageError(f"no such source: {settings.market_data_source!r}; give auto, rest or archive")

    def pair() -> None:
        try:
            has_contracts = parse_market(settings.market_type).has_contracts
        except UsageError:  # told of MARKET_TYPE
            has_contracts = True
        parse_pair(settings.symbol, has_contracts=has_contracts)

    return {
        "MARKET_DATA_DIR": lambda: settings.root,
        "MARKET_TYPE": lambda: parse_market(settings.market_type),
        "SYMBOL": pair,
        "ALIGN_TZ": lambda: parse_zone(settings.align_tz),
        "MARKET_DATA_SOURCE": source,
    }
