"""Faults on demand.

Belongs here: which faults exist, when one strikes, and what it does to the rows of a page.
Does not belong here: closing and stalling connections (`delivery`), the real weight limit (`weights`).
"""

import random
from collections import Counter, UserDict
from collections.abc import Iterable, Mapping

from market_data_pipeline.simulator.queries import RequestInfo

# Earlier ones win where a request draws several.
CONNECTION_FAULTS = {
    "reset": "the connection closes before an answer",
    "stall": "no answer for a long time",
    "truncate": "the body ends in the middle",
}
STATUS_FAULTS = {
    "500": "internal error",
    "503": "proxy error page",
    "429": "a refusal though the weight is not spent",
    "418": "a ban without a reason",
    "403": "page of the web application firewall",
    "451": "restricted location",
}
ROW_FAULTS = {
    "drop_rows": "a klines page lacks rows inside",
    "empty": "a klines page is empty",
    "repeat_rows": "a klines page has a row twice",
    "late": "the newest closed kline is not served for some seconds",
}
FAULTS: dict[str, str] = CONNECTION_FAULTS | STATUS_FAULTS | ROW_FAULTS
_NOT_OF_THE_ARCHIVE = {"429", "418", "451", *ROW_FAULTS}


class Faults(UserDict[str, float]):
    """Rates by fault name, 0 to 1 per request; may be changed while the exchange runs.

    A draw depends on the seed, the fault, the URL and how often that URL was asked, not on the order of requests, so
    runs with many requests in flight repeat.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, seed: int = 0) -> None:
        """Take rates, checking their names and values."""
        self.seed = seed
        self.stall_seconds = 30.0
        self.late_seconds = 5.0
        self.ban_seconds = 120
        self._asked: Counter[str] = Counter()
        super().__init__(rates or {})

    def __setitem__(self, name: str, rate: float) -> None:
        """Set the rate of one fault."""
        if name not in FAULTS:
            raise ValueError(f"unknown fault {name!r}; known faults: {', '.join(FAULTS)}")
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of fault {name} must lie between 0 and 1, not {rate}")
        super().__setitem__(name, rate)

    def draw(self, request: RequestInfo) -> set[str]:
        """Return the faults that strike a request."""
        if not self:
            return set()
        url = f"{request.path}?{sorted(request.params.items())}"
        self._asked[url] += 1
        return {
            name
            for name, rate in self.data.copy().items()
            if rate and self._number(name, url) < rate and _fits(name, request)
        }

    def _number(self, name: str, url: str) -> float:
        return random.Random(f"{self.seed} {name} {self._asked[url]} {url}").random()


def parse_faults(texts: Iterable[str]) -> dict[str, float]:
    """Read NAME=RATE texts, as in 500=0.1."""
    faults = Faults()
    for text in texts:
        name, _, rate = text.partition("=")
        try:
            number = float(rate)
        except ValueError:
            raise ValueError(f"a fault is written NAME=RATE, not {text!r}; known faults: {', '.join(FAULTS)}") from None
        faults[name.strip()] = number
    return dict(faults)


def spoil_rows(body: bytes, faults: set[str]) -> bytes:
    """Apply the row faults to the JSON body of a klines page."""
    if "empty" in faults:
        return b"[]"
    rows = body[2:-2].split(b"],[")
    if "drop_rows" in faults and len(rows) > 2:
        third = max(1, len(rows) // 3)
        rows = rows[:third] + rows[third + max(1, len(rows) // 10) :]
    if "repeat_rows" in faults and len(rows) > 1:
        rows.insert(len(rows) // 2, rows[len(rows) // 2])
    return b"[[" + b"],[".join(rows) + b"]]" if rows != [b""] else body


def _fits(name: str, request: RequestInfo) -> bool:
    if request.area == "archive":
        return name not in _NOT_OF_THE_ARCHIVE
    return request.endpoint == "klines" or name not in ROW_FAULTS
