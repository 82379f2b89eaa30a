"""Much data in few bytes.

Belongs here: compressed zeros, as much as is asked for, in pieces that cost nothing to make. Does not belong here: what
they are sent as (`framing`, `zips`).
"""

import zlib
from functools import cache

MEGABYTE = 1 << 20
END = b"\x03\x00"
"""The last block of a deflated stream: nothing more."""
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"


@cache
def deflated_megabyte() -> bytes:
    """Return a MB of zeros, deflated to 1 kB; it may be repeated as often as one likes, and `END` put after it."""
    deflating = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflating.compress(bytes(MEGABYTE)) + deflating.flush(zlib.Z_FULL_FLUSH)


@cache
def crc_of_zeros(megabytes: int) -> int:
    """Return the CRC-32 of so many MB of zeros."""
    crc, zeros = 0, bytes(MEGABYTE)
    for _ in range(megabytes):
        crc = zlib.crc32(zeros, crc)
    return crc
