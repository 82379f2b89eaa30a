"""The configuration: which environment variables and files cannot be used.

Belongs here: settings that cannot be read, or that name what there is not; `market-data.toml`. Does not belong here:
their meanings (`settings`), whether a folder can be written (`places`), `dagster.yaml` (`storage`).
"""

from collections.abc import Iterator, Mapping

from market_data_pipeline.app.doctor.lines import Line, of_error
from market_data_pipeline.core.errors import MarketDataError, UsageError
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
    try:
        _ = settings.root
    except UsageError as error:
        lines.append(of_error(SECTION, "MARKET_DATA_DIR", error, "correct MARKET_DATA_DIR, or unset it"))
    if not lines:
        default, zone = f"{settings.market_type} {settings.symbol}", settings.align_tz
        yield Line(SECTION, "variables", f"all can be used; the default dataset is {default}, new ones are in {zone}")
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
