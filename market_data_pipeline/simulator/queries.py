"""The parameters of requests.

Belongs here: the request that a hook gets, reading the parameters of a klines request, the error codes for wrong ones.
Does not belong here: what a request returns (`exchange`) and costs (`weights`).
"""

import re
from dataclasses import dataclass
from typing import Literal

from market_data_pipeline.simulator.data.bucket import MOST_KEYS, BucketQuery
from market_data_pipeline.simulator.data.pairs import Market

Area = Literal["spot", "futures", "archive", "listing"]
_INTEGER = re.compile(r"[0-9]{1,20}")
# Letters of any script, but not the small ones of ASCII.
_SYMBOL = re.compile(r"(?:(?![a-z])[\w.-]){1,50}")
_MOST_ROWS: dict[Market, int] = {"spot": 1000, "futures": 1500}
_DEFAULT_ROWS = 500


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One request. `number` counts all requests from 1; `address` is the client's IP address.

    `endpoint` is such as `klines`; `zip` for the archive's files and `list` for the listing of its bucket.
    """

    area: Area
    endpoint: str
    path: str
    params: dict[str, str]
    number: int
    address: str = ""


@dataclass(frozen=True, slots=True)
class KlinesQuery:
    """The valid parameters of a klines request, without the symbol."""

    start_ms: int | None
    end_ms: int | None
    limit: int


class ApiError(Exception):
    """An error response with a Binance error code."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        """Set the code, the text and the HTTP status."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def requested_rows(market: Market, params: dict[str, str]) -> int:
    """Return the limit of a klines request, by which its weight is counted even if the request is not valid."""
    text = params.get("limit", "")
    limit = int(text) if _INTEGER.fullmatch(text) else _DEFAULT_ROWS
    return min(limit, _MOST_ROWS[market])


def read_symbol(market: Market, params: dict[str, str]) -> str:
    """Return the parameter symbol.

    Raises:
        ApiError: it is missing or malformed.
    """
    symbol = _mandatory(params, "symbol")
    if market == "spot" and not _SYMBOL.fullmatch(symbol):
        raise _illegal("symbol", r"^[\w\-._&&[^a-z]]{1,50}$")
    return symbol


def read_klines(market: Market, params: dict[str, str]) -> KlinesQuery:
    """Return the other parameters of a klines request.

    Raises:
        ApiError: a parameter is missing or malformed.
    """
    if _mandatory(params, "interval") != "1m":
        raise ApiError(-1120, "Invalid interval.")
    limit = _integer(params, "limit")
    if limit is None:
        limit = _DEFAULT_ROWS
    if limit < 1 or (market == "futures" and limit > _MOST_ROWS[market]):
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    start_ms, end_ms = _integer(params, "startTime"), _integer(params, "endTime")
    if market == "futures" and start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError(-1023, "Start time is greater than end time.")
    return KlinesQuery(start_ms, end_ms, min(limit, _MOST_ROWS[market]))


def read_bucket(params: dict[str, str]) -> BucketQuery:
    """Return the parameters of a listing of the archive's bucket.

    Raises:
        ApiError: max-keys is no number.
    """
    most = params.get("max-keys") or str(MOST_KEYS)
    if not _INTEGER.fullmatch(most):
        raise ApiError(0, "Provided max-keys not an integer or within integer range")
    prefix, delimiter, marker = (params.get(name, "") for name in ("prefix", "delimiter", "marker"))
    return BucketQuery(prefix, delimiter, marker, min(int(most), MOST_KEYS))


def _mandatory(params: dict[str, str], name: str) -> str:
    if not params.get(name):
        raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return params[name]


def _integer(params: dict[str, str], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise _illegal(name, "^[0-9]{1,20}$")
    return int(text)


def _illegal(name: str, pattern: str) -> ApiError:
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")
