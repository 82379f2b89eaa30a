"""What the exchange answers, as shapes.

Belongs here: the requests, about 30 of REST and 10 of the archive, and what is kept of each answer. Does not belong
here: which shapes are right (`recorded.json`), comparing (`comparing`).
"""

import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import requests

Shapes = dict[str, Any]

_TIMEOUT_S = 15
_USED = "X-MBX-USED-WEIGHT-1M"
_LIMITS = (99, 499, 500, 1000, 1500)
_TRIES = 3
_NUMBER = re.compile(r"-?[0-9]+\.[0-9]+|-?[0-9]+")
# What the package reads of a pair.
_FIELDS = {"symbol", "status", "baseAsset", "quoteAsset", "contractType", "onboardDate", "deliveryDate"}
_START_MS = 1715299200000  # 2024-05-10
# Before and after the archive of spot began to write microseconds.
_DAYS = ("2024-05-10", "2025-01-10")


class Unreachable(Exception):
    """An address does not answer; the text has the reason."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the exchange is."""

    spot: str = "https://api.binance.com/api/v3"
    futures: str = "https://fapi.binance.com/fapi/v1"
    archive: str = "https://data.binance.vision"
    listing: str = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"

    @classmethod
    def below(cls, url: str) -> "Addresses":
        """Those of an exchange that has all of them below one address, as the simulated one."""
        url = url.rstrip("/")
        return cls(f"{url}/api/v3", f"{url}/fapi/v1", url, f"{url}/data.binance.vision")


def shapes_of(addresses: Addresses) -> Shapes:
    """Everything that is compared.

    Raises:
        Unreachable: an address does not answer.
    """
    with requests.Session() as session:
        asked = {
            "spot": _market(session, addresses.spot, {"symbol": "BTCUSDT"}),
            "futures": _market(session, addresses.futures, {}),
        }
        archive = {
            f"{market} of {day}": _file(session, f"{addresses.archive}/data/{folder}/daily/klines/BTCUSDT/1m", day)
            for market, folder in (("spot", "spot"), ("futures", "futures/um"))
            for day in _DAYS
        }
        missing = _get(session, f"{addresses.archive}/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2001-01-01.zip")
        listing = _listing(session, addresses.listing)
    return asked | {"archive": archive | {"a file that is not there": missing.status_code, "listing": listing}}


def _get(session: requests.Session, url: str, **params: Any) -> requests.Response:
    try:
        return session.get(url, params=params, timeout=_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        reason = " ".join(str(error).split())[:200]
        raise Unreachable(f"{url.partition('?')[0]} does not answer ({reason})") from error


def _market(session: requests.Session, url: str, one_pair: dict[str, str]) -> Shapes:
    klines = {"symbol": "BTCUSDT", "interval": "1m", "startTime": _START_MS}
    page = _get(session, f"{url}/klines", **klines, limit=2)
    info = _get(session, f"{url}/exchangeInfo", **(one_pair or {}))
    market = _get(session, f"{url}/exchangeInfo", **({"showPermissionSets": "false"} if one_pair else {}))
    pairs = _body(market).get("symbols", [])
    return {
        "time": _types(_body(_get(session, f"{url}/time"))),
        "columns of klines": [_type(value) for value in _first(_body(page))],
        "weight of klines by limit": {
            str(limit): _weight(session, f"{url}/klines", **klines, limit=limit)
            for limit in _LIMITS
            if not (one_pair and limit > 1000)
        },
        "weight of time": _weight(session, f"{url}/time"),
        "weight of exchangeInfo": _weight(session, f"{url}/exchangeInfo", **one_pair),
        "weight a minute": _limit(_body(info)),
        "fields of a pair": _types(_named(_body(info).get("symbols", []), "BTCUSDT")),
        "statuses": _values(pairs, "status"),
        "kinds of contracts": _values(pairs, "contractType"),
        "refusals": {
            "unknown symbol": _refusal(session, f"{url}/klines", **{**klines, "symbol": "NOSUCHPAIR"}),
            "unknown interval": _refusal(session, f"{url}/klines", **{**klines, "interval": "7m"}),
            "no symbol": _refusal(session, f"{url}/klines", interval="1m"),
            "start after end": _refusal(session, f"{url}/klines", **klines, endTime=_START_MS - 60_000),
        },
    }


def _weight(session: requests.Session, url: str, **params: Any) -> int | None:
    """What a request adds to the count; the least of some tries, as others may use the address, and minutes turn."""
    seen = []
    for _ in range(_TRIES):
        before, after = (_used(_get(session, url, **params)) for _ in range(2))
        if before is None or after is None:
            return None
        seen += [after - before] if after > before else []
    return min(seen, default=None)


def _used(response: requests.Response) -> int | None:
    text = response.headers.get(_USED, "")
    return int(text) if text.isdecimal() else None


def _refusal(session: requests.Session, url: str, **params: Any) -> list[Any]:
    response = _get(session, url, **params)
    body = _body(response)
    return [response.status_code, body.get("code") if isinstance(body, dict) else None]


def _body(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {}


def _first(rows: Any) -> list[Any]:
    return list(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], list) else []


def _named(pairs: Iterable[Any], symbol: str) -> Any:
    found = next((pair for pair in pairs if isinstance(pair, dict) and pair.get("symbol") == symbol), {})
    return {name: value for name, value in found.items() if name in _FIELDS}


def _types(fields: Any) -> Shapes:
    return {name: _type(value) for name, value in sorted(fields.items())} if isinstance(fields, dict) else {}


def _type(value: Any) -> str:
    if isinstance(value, str):
        return "number as text" if _NUMBER.fullmatch(value) else "text"
    names = {bool: "true or false", int: "whole number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "null")


def _values(pairs: Iterable[Any], field: str) -> list[str]:
    return sorted({str(pair[field]) for pair in pairs if isinstance(pair, dict) and field in pair})


def _limit(info: Any) -> int | None:
    limits = info.get("rateLimits", []) if isinstance(info, dict) else []
    wanted = ("REQUEST_WEIGHT", "MINUTE", 1)
    names = ("rateLimitType", "interval", "intervalNum")
    return next((each.get("limit") for each in limits if tuple(map(each.get, names)) == wanted), None)


def _file(session: requests.Session, folder: str, day: str) -> Shapes:
    """A day's file: what is in the zip, and how the checksum is written."""
    name = f"BTCUSDT-1m-{day}.zip"
    response, checksum = _get(session, f"{folder}/{name}"), _get(session, f"{folder}/{name}.CHECKSUM")
    if response.status_code != 200:
        return {"status": response.status_code}
    try:
        with zipfile.ZipFile(io.BytesIO(response.content)) as packed:
            names = packed.namelist()
            lines = packed.read(names[0]).decode().splitlines()
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError) as error:
        return {"zip": type(error).__name__}
    has_head = not lines[0][:1].isdigit()
    cells = lines[has_head].split(",")
    return {
        "files": names,
        "head": lines[0] if has_head else None,
        "columns": [_type(int(cell) if cell.isdigit() else cell) for cell in cells],
        "digits of a time": len(cells[0]),
        "checksum": bool(re.fullmatch(rf"[0-9a-f]{{64}}  {re.escape(name)}\s*", checksum.text)),
    }


def _listing(session: requests.Session, url: str) -> Shapes:
    response = _get(session, url, prefix="data/spot/daily/klines/BTCUSDT/1m/", delimiter="/")
    try:
        root = ElementTree.fromstring(response.content)
    except ElementTree.ParseError:
        return {"status": response.status_code}
    tags = sorted({child.tag.rpartition("}")[2] for child in root})
    first = next((child for child in root if child.tag.endswith("Contents")), ElementTree.Element("none"))
    return {"root": root.tag, "parts": tags, "parts of a file": sorted(part.tag.rpartition("}")[2] for part in first)}
