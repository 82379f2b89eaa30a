"""Good bodies made bad, the same ones for the same seed.

Belongs here: bytes in, bytes out. Does not belong here: what the bytes mean.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

_NUMBER = re.compile(rb"\d+")
_PIECES = [
    *(b"0", b"-1", b"9223372036854775808", b"1e999", b"1e-400", b"nan", b"NaN", b"Infinity", b"0x10", b" 1", b"1_0"),
    *(b'"', b"'", b",", b"[", b"]", b"[]", b"{", b"}", b"null", b"true", b"\\u0000", b"\\", b":", b'""'),
    *(b"\n", b"\r\n", b"\r", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"PK\x03\x04", b"PAR1"),
]


def damaged(seeds: Sequence[bytes], random: Random) -> Iterator[bytes]:
    """Bodies without end; each is one of the seeds with one to four changes."""
    while True:
        body = random.choice(seeds)
        for _ in range(random.choice((1, 1, 2, 4))):
            body = random.choice(_WAYS)(body, random, seeds)
        yield body


def _place(body: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(body) + 1)
    return start, min(len(body), start + random.choice((1, 2, 8, 64, len(body))))


def _flip(body: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    if not body:
        return body
    at = random.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << random.randrange(8)]) + body[at + 1 :]


def _overwrite(body: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start, end = _place(body, random)
    return body[:start] + random.randbytes(min(8, end - start)) + body[min(end, start + 8) :]


def _cut(body: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start, end = _place(body, random)
    return body[:start] + body[end:]


def _repeat(body: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start, end = _place(body, random)
    return body[:end] + body[start:end] + body[end:]


def _insert(body: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    start, _end = _place(body, random)
    return body[:start] + random.choice(_PIECES) + body[start:]


def _other_number(body: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    numbers = list(_NUMBER.finditer(body[:4096]))
    if not numbers:
        return body
    found = random.choice(numbers)
    return body[: found.start()] + random.choice(_PIECES[:11]) + body[found.end() :]


def _splice(body: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return body[: random.randrange(len(body) + 1)] + other[random.randrange(len(other) + 1) :]


_WAYS: Sequence[Callable[[bytes, Random, Sequence[bytes]], bytes]] = (
    _flip,
    _overwrite,
    _cut,
    _repeat,
    _insert,
    _other_number,
    _splice,
)
