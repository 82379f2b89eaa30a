"""Faults on demand.

Belongs here: which faults exist, and when one strikes.
Does not belong here: what they do to a page or a file (`page_faults`, `file_faults`) or to a connection (`delivery`),
the real weight limit (`weights`).
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
PAGE_FAULTS = {
    "drop_rows": "a klines page lacks rows inside",
    "empty": "a klines page is empty",
    "repeat_rows": "a klines page has a row twice",
    "late": "the newest closed kline is not served for some seconds",
    "provisional": "klines that closed a moment ago have other values than later",
    "cut_json": "the JSON of a klines page ends in the middle, in an answer that is whole for HTTP",
    "html": "a klines page is a page of HTML, with status 200",
    "conflicting_rows": "a klines page has a row twice, the second time with other values",
    "swap_rows": "two rows of a klines page are out of order",
    "off_grid": "a row of a klines page is some seconds off the minute",
    "open_as_closed": "the kline that is still open says that it closed just now",
}
FILE_FAULTS = {
    "wrong_checksum": "the .CHECKSUM is that of another zip",
    "cut_zip": "the zip ends in the middle, and its checksum is right",
    "microseconds": "the times of a file are in microseconds where its market and day have milliseconds",
    "late_archive": "a file is missing though its time of publication is over",
    "archive_drops_rows": "a file lacks a tenth of its rows, in one run inside",
    "archive_differs": "one to three rows of a file have other values than REST",
    "archive_empty_minutes": "an hour inside a file has flat rows without a trade where REST has trades",
}
FAULTS: dict[str, str] = CONNECTION_FAULTS | STATUS_FAULTS | PAGE_FAULTS | FILE_FAULTS
_NOT_OF_THE_ARCHIVE = {"429", "418", "451"}


class Faults(UserDict[str, float]):
    """Rates by fault name, 0 to 1 per request or archive file; may be changed while the exchange runs.

    A draw depends on the seed, the fault, the URL and how often that URL was asked, not on the order of requests, so
    runs with many requests in flight repeat. A file of the archive has its faults for good, its checksum the same.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, seed: int = 0) -> None:
        """Take rates, checking their names and values."""
        self.seed = seed
        self.stall_seconds = 30.0
        self.late_seconds = 5.0
        self.provisional_seconds = 90.0
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
            if rate and _fits(name, request) and self._number(name, request, url) < rate
        }

    def _number(self, name: str, request: RequestInfo, url: str) -> float:
        struck = request.path.removesuffix(".CHECKSUM") if name in FILE_FAULTS else f"{self._asked[url]} {url}"
        return random.Random(f"{self.seed} {name} {struck}").random()


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


def _fits(name: str, request: RequestInfo) -> bool:
    if name in FILE_FAULTS:
        return request.area == "archive"
    if name in PAGE_FAULTS:
        return request.endpoint == "klines"
    return request.area != "archive" or name not in _NOT_OF_THE_ARCHIVE
