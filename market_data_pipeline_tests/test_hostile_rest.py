"""Whatever REST answers, a load ends in time and in one line, stores nothing false, and is whole without the fault."""

from collections import Counter
from itertools import chain, cycle

import pytest

from market_data_pipeline.simulator.hostile.documents import DOCUMENTS
from market_data_pipeline.simulator.hostile.framing import FRAMING
from market_data_pipeline.simulator.hostile.refusals import REFUSALS
from market_data_pipeline.simulator.hostile.rows import PAGES, ROWS
from market_data_pipeline.simulator.hostile.values import LISTINGS, TIMES
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.hostile_loads import Case, problems_of
from market_data_pipeline_tests.support import is_page


def of_life(request: RequestInfo) -> bool:
    """True for a request for the first or the newest klines of a pair."""
    return request.endpoint == "klines" and not is_page(request)


def of_clock(request: RequestInfo) -> bool:
    return request.endpoint == "time"


def of_listing(request: RequestInfo) -> bool:
    return request.endpoint == "exchangeInfo"


WHERE = {"pages": is_page, "life": of_life, "time": of_clock, "exchangeInfo": of_listing}


def cases_of(of: str, *tables: dict[str, tuple[str, object]], every: int = 1, first: int = 0) -> list[Case]:
    """A case for each fault of the tables, on spot and on futures in turn; with `every`, for one of so many."""
    names = list(chain.from_iterable(tables))[first::every]
    pair = "OLD/USDT" if of == "exchangeInfo" else "BTC/USDT"
    markets = cycle(("spot", "spot", "spot", "futures", "futures", "futures"))  # a third or half of them has both
    return [Case(name, market, of, WHERE[of], pair=pair) for name, market in zip(names, markets, strict=False)]


OF_TYPES = {
    "pages": cases_of("pages", DOCUMENTS, ROWS, PAGES),
    "life": cases_of("life", DOCUMENTS, ROWS, PAGES),
    "time": cases_of("time", TIMES, DOCUMENTS),
    "exchangeInfo": cases_of("exchangeInfo", LISTINGS, DOCUMENTS),
}
FAST = {
    **{f"types of {of}": cases[::3] for of, cases in OF_TYPES.items()},
    "sending of pages": cases_of("pages", FRAMING),
    "refusals of pages": cases_of("pages", REFUSALS, every=3),
}
SLOW = {
    **{f"types of {of}": [case for case in cases if case not in cases[::3]] for of, cases in OF_TYPES.items()},
    **{f"sending of {of}": cases_of(of, FRAMING) for of in ("life", "time", "exchangeInfo")},
    **{f"refusals of {of}": cases_of(of, REFUSALS, every=3, first=1) for of in ("pages", "time")},
    **{f"refusals of {of}": cases_of(of, REFUSALS, every=3, first=2) for of in ("life", "exchangeInfo")},
}


@pytest.mark.parametrize("kind", FAST)
def test_a_load_survives(kind: str) -> None:
    assert problems_of(FAST[kind]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW)
def test_a_load_survives_the_others(kind: str) -> None:
    assert problems_of(SLOW[kind]) == {}


def test_there_are_at_least_150_cases_of_all_endpoints_and_markets() -> None:
    fast, slow = (list(chain.from_iterable(kinds.values())) for kinds in (FAST, SLOW))
    assert len({case.name for case in fast}) == len(fast) >= 150
    assert len({case.name for case in (*fast, *slow)}) == len(fast) + len(slow) >= 500
    assert min(Counter(case.market for case in fast).values()) >= 60
    assert min(Counter(case.of for case in fast).values()) >= 10
