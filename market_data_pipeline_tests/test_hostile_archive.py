"""Whatever the archive has for a file, a load ends in time, stores nothing false, and is whole after it."""

from itertools import chain, cycle

import pytest

from market_data_pipeline.simulator.hostile.checksums import CHECKSUMS
from market_data_pipeline.simulator.hostile.committing import OTHER_PAIR
from market_data_pipeline.simulator.hostile.framing import FRAMING
from market_data_pipeline.simulator.hostile.refusals import REFUSALS
from market_data_pipeline.simulator.hostile.texts import TEXTS
from market_data_pipeline.simulator.hostile.zips import ZIPS
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.hostile_loads import DAY, Case, problems_of


def of_file(request: RequestInfo) -> bool:
    """True for a zip and for its checksum."""
    return request.area == "archive"


def of_zip(request: RequestInfo) -> bool:
    return of_file(request) and not of_checksum(request)


def of_checksum(request: RequestInfo) -> bool:
    return request.path.endswith(".CHECKSUM")


WHERE = {"the file": of_file, "the zip": of_zip, "the checksum": of_checksum}


def cases_of(of: str, names: list[str], source: str = "archive") -> list[Case]:
    """A case for each fault, on spot and on futures in turn."""
    markets = cycle(("spot", "futures"))
    return [Case(name, market, of, WHERE[of], DAY, source) for name, market in zip(names, markets, strict=False)]


FILES = [*ZIPS, *TEXTS, *CHECKSUMS, *OTHER_PAIR]
FAST = {
    "zips": cases_of("the file", list(ZIPS)),
    "texts": cases_of("the file", list(TEXTS)[::2]),
    "checksums": cases_of("the file", [*CHECKSUMS, *OTHER_PAIR]),
}
SLOW = {
    "texts": cases_of("the file", list(TEXTS)[1::2]),
    "with REST beside": cases_of("the file", FILES, "auto"),
    "sending of zips": cases_of("the zip", list(FRAMING)),
    "sending of checksums": cases_of("the checksum", list(FRAMING)),
    "refusals": cases_of("the zip", list(REFUSALS)[::5]),
}


@pytest.mark.parametrize("kind", FAST)
def test_a_load_survives(kind: str) -> None:
    assert problems_of(FAST[kind]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW)
def test_a_load_survives_the_others(kind: str) -> None:
    assert problems_of(SLOW[kind]) == {}


def test_there_are_at_least_80_files() -> None:
    fast, slow = (list(chain.from_iterable(kinds.values())) for kinds in (FAST, SLOW))
    assert len({case.name for case in fast}) == len(fast) >= 80
    assert len({case.name for case in (*fast, *slow)}) == len(fast) + len(slow)
