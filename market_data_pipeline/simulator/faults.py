"""Faults on demand.

Belongs here: which faults exist, their rates, and the draw that decides whether a request has one.
Does not belong here: what they do to a page or a file (`page_faults`, `file_faults`), to a connection (`delivery`) or
to any answer (`hostile`), the real weight limit (`weights`).
"""

import random
from collections import Counter, UserDict
from collections.abc import Iterable, Mapping

from market_data_pipeline.simulator.hostile.committing import HOSTILE_ANSWERS, HOSTILE_FILES, concerns
from market_data_pipeline.simulator.queries import RequestInfo

CONNECTION_FAULTS = {
    "reset": "the connection closes before a response",
    "stall": "no response for a long time",
    "truncate": "the body ends in the middle",
}
# Of several status faults of a request, the first one in this order is committed.
STATUS_FAULTS = {
    "500": "internal error",
    "503": "proxy error page",
    "429": "a refusal although weight is left",
    "418": "a ban without a reason",
    "403": "page of the web application firewall",
    "451": "restricted location",
}
PAGE_FAULTS = {
    "drop_rows": "rows inside a klines page are missing",
    "empty": "a klines page is empty",
    "repeat_rows": "a klines page has a row twice",
    "late": "the newest closed kline is not served for some seconds",
    "provisional": "klines that closed a moment ago have other values than later",
    "cut_json": "the JSON of a klines page ends in the middle, in a complete HTTP response",
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
    "late_archive": "a file is missing although its time of publication is over",
    "archive_drops_rows": "a tenth of a file's rows is missing, in one piece",
    "archive_differs": "one to three rows of a file have other values than REST",
    "archive_empty_minutes": "an hour inside a file has flat rows without a trade where REST has trades",
}
_USUAL_FAULTS: dict[str, str] = CONNECTION_FAULTS | STATUS_FAULTS | PAGE_FAULTS | FILE_FAULTS
FAULTS: dict[str, str] = _USUAL_FAULTS | HOSTILE_ANSWERS | HOSTILE_FILES
KNOWN_FAULTS = f"known faults: {', '.join(_USUAL_FAULTS)}, and those of docs/hostile-answers.md"
"""For the text of an error."""
_NOT_OF_THE_ARCHIVE = {"429", "418", "451"}


class Faults(UserDict[str, float]):
    """Rates by fault name, 0 to 1 per request or archive file; may be changed while the exchange runs.

    A draw depends on the seed, the fault, the URL and how often that URL was requested. It does not depend on the order
    of requests, so runs with many requests in flight repeat. The faults of an archive file depend on its path only: the
    file never changes, and its checksum has the same ones.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, seed: int = 0) -> None:
        """Check the names and values of the rates.

        Raises:
            ValueError: there is no such fault, or a rate is not between 0 and 1.
        """
        self.seed = seed
        self.stall_seconds = 30.0
        self.late_seconds = 5.0
        self.provisional_seconds = 90.0
        self.ban_seconds = 120
        self._requests: Counter[str] = Counter()
        super().__init__(rates or {})

    def __setitem__(self, name: str, rate: float) -> None:
        """Set the rate of one fault."""
        if name not in FAULTS:
            raise ValueError(f"unknown fault {name!r}; {KNOWN_FAULTS}")
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of fault {name} must lie between 0 and 1, not {rate}")
        super().__setitem__(name, rate)

    def draw(self, request: RequestInfo) -> set[str]:
        """Return the names of the faults that this request has."""
        if not self:
            return set()
        url = f"{request.path}?{sorted(request.params.items())}"
        self._requests[url] += 1
        return {
            name
            for name, rate in self.data.copy().items()
            if rate and _applies(name, request) and self._number(name, request, url) < rate
        }

    def _number(self, name: str, request: RequestInfo, url: str) -> float:
        of_file = name in FILE_FAULTS or name in HOSTILE_FILES
        subject = request.path.removesuffix(".CHECKSUM") if of_file else f"{self._requests[url]} {url}"
        return random.Random(f"{self.seed} {name} {subject}").random()


def parse_faults(texts: Iterable[str]) -> dict[str, float]:
    """Read texts of the form NAME=RATE, such as `500=0.1`.

    Raises:
        ValueError: a text has another form, there is no such fault, or a rate is not between 0 and 1.
    """
    faults = Faults()
    for text in texts:
        name, _, rate = text.partition("=")
        try:
            number = float(rate)
        except ValueError:
            raise ValueError(f"a fault is written NAME=RATE, not {text!r}; {KNOWN_FAULTS}") from None
        faults[name.strip()] = number
    return dict(faults)


def _applies(name: str, request: RequestInfo) -> bool:
    if name in HOSTILE_ANSWERS or name in HOSTILE_FILES:
        return concerns(name, request)
    if name in FILE_FAULTS:
        return request.area == "archive"
    if name in PAGE_FAULTS:
        return request.endpoint == "klines"
    return request.area != "archive" or name not in _NOT_OF_THE_ARCHIVE
