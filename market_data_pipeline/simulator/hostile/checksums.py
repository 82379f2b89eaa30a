"""Faults of the .CHECKSUM of an archive file, whose zip is right.

Belongs here: the text of a checksum. Does not belong here: zips (`zips`), a checksum without end (`framing` has
that for any answer).
"""

import hashlib
from collections.abc import Callable
from typing import TypeAlias

Build: TypeAlias = Callable[[str, bytes], bytes | None]
"""Returns the checksum of a zip from its name and its bytes; None for none."""


def _sum(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()


def _line(change: Callable[[str], str]) -> Build:
    return lambda name, packed: f"{change(_sum(packed))}  {name}\n".encode()


CHECKSUMS: dict[str, tuple[str, Build]] = {
    "checksum_missing": ("404", lambda *_: None),
    "checksum_empty": ("nothing", lambda *_: b""),
    "checksum_spaces": ("spaces", lambda *_: b" \n\t \n"),
    "checksum_binary": ("bytes that are no text", lambda *_: bytes(range(128, 256)) * 8),
    "checksum_nul": ("zeros", lambda *_: bytes(64)),
    "checksum_html": ("a page of HTML", lambda *_: b"<!DOCTYPE html><html><body>Not found</body></html>"),
    "checksum_long": (
        "the checksum a hundred times, more than a line should have",
        lambda name, packed: _sum(packed).encode() * 100,
    ),
    "checksum_1_mb": ("a text of 1 MB", lambda *_: b"a" * (1 << 20)),
    "checksum_half": ("half of the checksum", _line(lambda text: text[:32])),
    "checksum_md5": (
        "an MD5 sum",
        lambda name, packed: f"{hashlib.md5(packed, usedforsecurity=False).hexdigest()}  {name}\n".encode(),
    ),
    "checksum_upper": ("the checksum in capital letters", _line(str.upper)),
    "checksum_prefixed": ("`sha256:` before the checksum", _line(lambda text: f"sha256:{text}")),
    "checksum_bom": (
        "a byte order mark before the checksum",
        lambda name, packed: b"\xef\xbb\xbf" + f"{_sum(packed)}  {name}\n".encode(),
    ),
    "checksum_utf16": ("the checksum in UTF-16", lambda name, packed: f"{_sum(packed)}  {name}\n".encode("utf-16")),
    "checksum_name_first": ("the name before the checksum", lambda name, packed: f"{name}  {_sum(packed)}\n".encode()),
    "checksum_of_other_file": (
        "the right sum of a file of another name",
        lambda name, packed: f"{_sum(packed)}  OTHER{name}\n".encode(),
    ),
    "checksum_of_csv": (
        "the sum of another file",
        lambda name, packed: f"{_sum(packed + name.encode())}  {name}\n".encode(),
    ),
    "checksum_two_lines": (
        "another file's line before the right one",
        lambda name, packed: f"{'0' * 64}  OTHER{name}\n{_sum(packed)}  {name}\n".encode(),
    ),
    "checksum_without_name": ("the checksum and no name", lambda _, packed: _sum(packed).encode()),
    "checksum_crlf": ("a line that ends as on Windows", lambda name, packed: f"{_sum(packed)} *{name}\r\n".encode()),
}
"""By name: what a client gets, and the text."""
