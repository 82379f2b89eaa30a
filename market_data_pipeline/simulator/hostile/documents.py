"""Faults of JSON as such: nested too deeply, numbers that are none, keys twice, other encodings and types.

Belongs here: what can be done to any document, whatever it says. Does not belong here: single values of a document that
is JSON (`values`, `rows`), how it is sent (`framing`).
"""

import re
from collections.abc import Callable
from typing import TypeAlias

Change: TypeAlias = Callable[[bytes], bytes]

# A number that is no part of a text.
_NUMBER = re.compile(rb"(?<=[:,\[])-?\d+(?=[,\]}])")
_DEEP = 100_000


def _numbers(token: bytes) -> Change:
    """The first two numbers of the document replaced."""
    return lambda body: _NUMBER.sub(token.replace(b"\\", b"\\\\"), body, count=2)


def _inside(value: bytes) -> Change:
    """A value more, which nobody asked for: at the front of the object, or as a last element of the list."""

    def changed(body: bytes) -> bytes:
        if body[:1] == b"{":
            return b'{"more":' + value + b"," + body[1:] if body != b"{}" else b'{"more":' + value + b"}"
        return body[:-1] + b"," + value + b"]"

    return changed


def _keys_twice(body: bytes, *, wrong_last: bool) -> bytes:
    if body[:1] != b"{":
        return b'{"klines":' + body + b',"klines":' + body + b"}"
    wrong = b'"serverTime":1,"symbols":[{}]'
    return body[:-1] + b"," + wrong + b"}" if wrong_last else b"{" + wrong + b"," + body[1:]


def _other_type(body: bytes) -> bytes:
    return b"[" + body + b"]" if body[:1] == b"{" else b'{"rows":' + body + b"}"


DOCUMENTS: dict[str, tuple[str, Change]] = {
    "json_deep": ("100,000 lists in each other", lambda _: b"[" * _DEEP + b"]" * _DEEP),
    "json_deep_objects": ("100,000 objects in each other", lambda _: b'{"a":' * _DEEP + b"1" + b"}" * _DEEP),
    "json_deep_open": ("100,000 lists that do not end", lambda _: b"[" * _DEEP),
    "json_deep_inside": ("a value that is nested too deeply beside the others", _inside(b"[" * _DEEP + b"]" * _DEEP)),
    "json_more": ("a value more beside the others", _inside(b'"more"')),
    "json_nan": ("numbers that are NaN", _numbers(b"NaN")),
    "json_infinity": ("numbers that are infinite", _numbers(b"-Infinity")),
    "json_overflow": ("numbers of 1e999", _numbers(b"1e999")),
    "json_huge": ("integers of 5,000 digits", _numbers(b"9" * 5000)),
    "json_huge_float": ("numbers with 5,000 digits after the point", _numbers(b"1." + b"9" * 5000)),
    "json_minus_zero": ("numbers of -0", _numbers(b"-0")),
    "json_leading_zero": ("numbers that begin with zeros", _numbers(b"0017")),
    "json_hex": ("numbers in hexadecimal", _numbers(b"0x10")),
    "json_plus": ("numbers with a plus", _numbers(b"+17")),
    "json_keys_first": ("keys twice, of which the first is wrong", lambda body: _keys_twice(body, wrong_last=False)),
    "json_keys_last": ("keys twice, of which the last is wrong", lambda body: _keys_twice(body, wrong_last=True)),
    "json_surrogate": ("a lone surrogate", _inside(rb'"\ud800"')),
    "json_not_utf8": ("bytes that are no UTF-8", _inside(b'"\xff\xfe"')),
    "json_control": ("control characters inside a text", _inside(b'"a\x00\x1b\nb"')),
    "json_bom": ("a byte order mark before the document", lambda body: b"\xef\xbb\xbf" + body),
    "json_utf16": ("the document in UTF-16", lambda body: body.decode().encode("utf-16")),
    "json_nul": ("NUL before and after the document", lambda body: b"\x00" + body + b"\x00"),
    "json_spaces": ("a MB of spaces before the document", lambda body: b" " * (1 << 20) + body),
    "json_twice": ("the document twice", lambda body: body + body),
    "json_cut": ("the document but for its last byte", lambda body: body[:-1]),
    "json_comma": ("a comma after the last value", lambda body: body[:-1] + b"," + body[-1:]),
    "json_comment": ("a comment before the document", lambda body: b"/* ok */" + body),
    "json_padded": ("a call of a function around the document", lambda body: b"callback(" + body + b");"),
    "json_as_text": ("the document as a text", lambda body: b'"' + body.replace(b'"', b'\\"') + b'"'),
    "json_other_type": ("a list in place of the object, or an object of the list", _other_type),
    "json_null": ("null", lambda _: b"null"),
    "json_true": ("true", lambda _: b"true"),
    "json_number": ("a number", lambda _: b"17"),
    "json_empty_object": ("an object without keys", lambda _: b"{}"),
    "json_objects": ("a list of objects without keys", lambda _: b"[{},{}]"),
    "json_lists": ("a list of empty lists", lambda _: b"[[],[]]"),
}
"""By name: what a client gets, and the change of the body."""
