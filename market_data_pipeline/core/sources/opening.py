"""Which source a name means.

Belongs here: the names users may give. Does not belong here: how a source works.
"""

from pathlib import Path

from market_data_pipeline.core.dataset import Market
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.sources.base import KlineSource

SOURCES = ("auto", "rest")


def open_source(
    name: str, market: Market, pair: str, *, root: Path, base_url: str | None = None, extra_sleep_s: float = 0
) -> KlineSource:
    """The source called `name` for a pair; `auto` is the REST API. Nothing is sent yet.

    Raises:
        UsageError: no such source.
    """
    from market_data_pipeline.core.sources.rest import RestSource

    if name not in SOURCES:
        raise UsageError(f"no such source: {name!r}; give {' or '.join(SOURCES)}")
    return RestSource(market, pair.replace("/", ""), root=root, base_url=base_url, extra_sleep_s=extra_sleep_s)
