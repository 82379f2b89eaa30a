"""Faults that are answers by themselves: refusals with every kind of Retry-After, error codes with every status, pages.

Belongs here: status, headers and body of an answer that says nothing of what was asked. Does not belong here: answers
that say it wrongly (`documents`, `rows`).
"""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TypeAlias

import orjson

from market_data_pipeline.simulator.hostile.answer import Answer, Headers

Refusal: TypeAlias = Callable[[int], Answer]
"""Returns the answer at an instant of the exchange's clock, ms."""

_REFUSING = {"403": 403, "418": 418, "429": 429}
_CODES = {
    "1000": "An unknown error occurred while processing the request.",
    "1001": "Internal error; unable to process your request. Please try again.",
    "1006": "An unexpected response was received from the message bus. Execution status unknown.",
    "1007": "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    "1008": "Server is currently overloaded with other requests. Please try again in a few minutes.",
}
_STATUSES_OF_CODES = (200, 400, 408, 429, 500, 503)
_JSON: Headers = (("Content-Type", "application/json"),)
_HTML: Headers = (("Content-Type", "text/html"),)
_FIREWALL = (
    b"<html><head><title>ERROR: The request could not be satisfied</title></head><body>Request blocked.</body></html>"
)
_CHALLENGE = b"<!DOCTYPE html><html><head><title>Human Verification</title><script></script></head><body></body></html>"
_MANY_WORDS = "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams."


def _date(ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(ms / 1000, UTC), usegmt=True)


def _refused(status: int, *headers: tuple[str, str], until: str | None = None) -> Answer:
    text = "Too many requests." if until is None else _MANY_WORDS.format(until=until)
    if status == 403 and until is None:
        return Answer(status, (*_HTML, *headers), _FIREWALL)
    return Answer(status, (*_JSON, *headers), orjson.dumps({"code": -1003, "msg": text}))


def _after(value: str) -> Callable[[int, int], Answer]:
    return lambda status, _: _refused(status, ("Retry-After", value))


_AFTER: dict[str, tuple[str, Callable[[int, int], Answer]]] = {
    "seconds": ("of 1 s", _after("1")),
    "part": ("of 0.5 s", _after("0.5")),
    "date": (
        "that is a date, 1 s after that of the answer",
        lambda status, now_ms: _refused(status, ("Date", _date(now_ms)), ("Retry-After", _date(now_ms + 1000))),
    ),
    "past": ("that is a date of 1971", lambda status, _: _refused(status, ("Retry-After", _date(31_536_000_000)))),
    "nonsense": ("of `soon`", _after("soon")),
    "negative": ("of -5", _after("-5")),
    "huge": ("of thirty digits", _after("9" * 30)),
    "hour": ("of an hour", _after("3600")),
    "nan": ("of `nan`", _after("nan")),
    "none": ("that is missing", lambda status, _: _refused(status)),
    "twice": (
        "twice, 1 s and `later`",
        lambda status, _: _refused(status, ("Retry-After", "1"), ("Retry-After", "later")),
    ),
    "until": ("only in the text, 1 s from now", lambda status, now_ms: _refused(status, until=str(now_ms + 1000))),
    "until_past": ("only in the text, in 1971", lambda status, _: _refused(status, until="0031536000000")),
    "until_never": ("only in the text, of forty digits", lambda status, _: _refused(status, until="9" * 40)),
}


def _of_status(status: int, build: Callable[[int, int], Answer]) -> Refusal:
    return lambda now_ms: build(status, now_ms)


def _always(status: int, headers: Headers, body: bytes) -> Refusal:
    return lambda _: Answer(status, headers, body)


def _error(status: int, code: object, message: object) -> Refusal:
    return _always(status, _JSON, orjson.dumps({"code": code, "msg": message}))


_WAITING: dict[str, tuple[str, Refusal]] = {
    f"{name}_{kind}": (f"{name} with a Retry-After {text}", _of_status(status, build))
    for name, status in _REFUSING.items()
    for kind, (text, build) in _AFTER.items()
}
_CODED: dict[str, tuple[str, Refusal]] = {
    f"{code}_{status}": (f"the error -{code} with status {status}", _error(status, -int(code), message))
    for code, message in _CODES.items()
    for status in _STATUSES_OF_CODES
}
_PAGES: dict[str, tuple[str, Refusal]] = {
    "page_200": ("a page of the firewall with status 200", _always(200, _HTML, _FIREWALL)),
    "page_as_json": ("such a page that says it is JSON", _always(200, _JSON, _FIREWALL)),
    "page_202": ("a page that asks for a human, with status 202", _always(202, _HTML, _CHALLENGE)),
    "page_404": ("a page with status 404", _always(404, _HTML, _FIREWALL)),
    "page_407": ("a proxy that wants a password", _always(407, (("Proxy-Authenticate", "Basic"),), _FIREWALL)),
    "page_502": ("a page with status 502", _always(502, _HTML, _FIREWALL)),
    "page_525": ("a page with status 525", _always(525, _HTML, _FIREWALL)),
    "empty_200": ("nothing, with status 200", _always(200, _JSON, b"")),
    "empty_204": ("no content", _always(204, (), b"")),
    "empty_304": ("not modified", _always(304, (), b"")),
    "partial_206": ("a part, which was not asked for", _always(206, _JSON, b"[")),
    "error_code_text": ("an error whose code is a text", _error(400, "-1000", "Error.")),
    "error_code_float": ("an error whose code is no whole number", _error(400, -1000.5, "Error.")),
    "error_code_null": ("an error without a code", _error(400, None, None)),
    "error_code_zero": ("an error with code 0 and status 200", _error(200, 0, "")),
    "error_message_list": ("an error whose text is a list", _error(400, -1000, [1, 2])),
    "error_message_long": ("an error with a text of 1 MB", _error(500, -1000, "x" * (1 << 20))),
    "error_message_lines": (
        "an error with a text of many lines",
        _error(500, -1000, "one\n\ttwo\r\n\x1b[31mthree\x00" * 50),
    ),
    "error_deep": (
        "an error nested too deeply",
        _always(400, _JSON, b'{"code":-1000,"msg":' + b"[" * 2000 + b"]" * 2000 + b"}"),
    ),
}
REFUSALS: dict[str, tuple[str, Refusal]] = _WAITING | _CODED | _PAGES
"""By name: what a client gets, and the answer."""
