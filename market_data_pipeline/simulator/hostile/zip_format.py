"""Zips written by hand, so that each field of their headers can say something else than what is so.

Belongs here: the layout of a zip (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3). Does not belong
here: what is wrong with a zip (`zips`).
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

_STORED, _DEFLATED = 0, 8
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# 2024-05-02; the time of a file's day does not matter to anybody.
_DATE = (2024 - 1980) << 9 | 5 << 5 | 2
_NEEDED, _MADE_BY = 20, 0x0314
_MODE = 0o644 << 16
_UTF8 = 0x800


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a zip: its packed content, and what both headers say of it.

    Attributes:
        name: the name.
        packed: the content as it is in the zip.
        size: the size that is told of the content, in bytes.
        crc: the CRC-32 that is told.
        method: the method of compression that is told.
        flags: the flags that are told.
        packed_off: what the told size of `packed` has too much.
    """

    name: str
    packed: bytes
    size: int
    crc: int
    method: int
    flags: int = 0
    packed_off: int = 0

    def with_size(self, size: int) -> "Entry":
        """Return the entry with another told size."""
        return replace(self, size=size)

    def with_crc(self, crc: int) -> "Entry":
        """Return the entry with another told CRC."""
        return replace(self, crc=crc)

    def with_flags(self, flags: int) -> "Entry":
        """Return the entry with these flags."""
        return replace(self, flags=flags)

    def with_packed(self, more: int) -> "Entry":
        """Return the entry with a told packed size of so many bytes more."""
        return replace(self, packed_off=more)

    def flipped(self) -> "Entry":
        """Return the entry with one bit of its content changed."""
        content = bytearray(self.packed)
        content[len(content) // 2] ^= 0x10
        return replace(self, packed=bytes(content))

    @property
    def fields(self) -> bytes:
        """The fields that both headers have, from the flags to the length of the name."""
        told = len(self.packed) + self.packed_off
        flags = self.flags | (0 if self.name.isascii() else _UTF8)
        name = len(self.name.encode())
        return struct.pack("<HHHHIIIH", flags, self.method, 0, _DATE, self.crc, told, self.size, name)


def stored(name: str, content: bytes) -> Entry:
    """Return an honest entry that is not compressed."""
    return Entry(name, content, len(content), zlib.crc32(content), _STORED)


def deflated(name: str, content: bytes) -> Entry:
    """Return an honest entry that is deflated."""
    deflating = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = deflating.compress(content) + deflating.flush()
    return Entry(name, packed, len(content), zlib.crc32(content), _DEFLATED)


def zipped(
    entries: Sequence[Entry], *, comment: bytes = b"", moved: int = 0, told: int | None = None, shared: bool = False
) -> bytes:
    """Return a zip of the entries.

    Args:
        entries: the files.
        comment: the comment at its end.
        moved: how far the directory is told to lie behind where it is, in bytes.
        told: the told number of files if it is not the true one.
        shared: write the first entry only, and let all others be in its place.
    """
    content, directory = bytearray(), bytearray()
    for entry in entries:
        at = 0 if shared else len(content)
        if not shared or not content:
            content += (
                _LOCAL + struct.pack("<H", _NEEDED) + entry.fields + bytes(2) + entry.name.encode() + entry.packed
            )
        directory += _CENTRAL + struct.pack("<HH", _MADE_BY, _NEEDED) + entry.fields
        directory += struct.pack("<HHHHII", 0, 0, 0, 0, _MODE, at) + entry.name.encode()
    count = len(entries) if told is None else told
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(content) + moved, len(comment))
    return bytes(content + directory + _END + end + comment)
