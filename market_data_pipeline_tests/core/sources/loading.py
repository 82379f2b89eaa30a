"""A program that loads klines: `python -m market_data_pipeline_tests.core.sources.loading URL ROOT MARKET START END`.

Prints the number of klines and the weight that they cost.
"""

import sys
from contextlib import closing
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.rest.client import RestClient
from market_data_pipeline.core.sources.rest.klines import RestSource
from market_data_pipeline_tests.support import budget_in, span


def load(url: str, root: str, market: str, start: str, end: str) -> tuple[int, int]:
    with closing(
        RestSource(RestClient(Market(market), budget_of=budget_in(Path(root)), base_url=url), "BTCUSDT")
    ) as source:
        source.life()
        rows = sum(page.klines.num_rows for page in source.pages([span(start, end)]))
        return rows, source.usage().spent


if __name__ == "__main__":
    print(*load(*sys.argv[1:]))
