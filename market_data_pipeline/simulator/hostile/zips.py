"""Faults of zips: bombs, lies about sizes, other contents than one file of rows.

Belongs here: what is around the rows of an archive file. Does not belong here: the rows (`texts`), checksums
(`checksums`).
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import TypeAlias

from market_data_pipeline.simulator.data.archive import ArchiveName
from market_data_pipeline.simulator.hostile.bombs import END, crc_of_zeros, deflated_megabyte
from market_data_pipeline.simulator.hostile.zip_format import Entry, deflated, stored, zipped

Build: TypeAlias = Callable[[str, bytes], bytes]
"""Returns a file of the archive from the name of its CSV and the text of that."""

_GIGABYTE = 1000
_ENTRIES = 20_000
_NO_METHOD = 99


def _bomb(name: str, megabytes: int, told: int | None = None) -> Entry:
    packed = deflated_megabyte() * megabytes + END
    size = megabytes << 20
    return Entry(name, packed, size if told is None else told, crc_of_zeros(megabytes), 8)


def _one(change: Callable[[Entry], Entry]) -> Build:
    return lambda name, text: zipped([change(deflated(name, text))])


def _method(method: int, pack: Callable[[bytes], bytes]) -> Build:
    return lambda name, text: zipped([Entry(name, pack(text), len(text), zlib.crc32(text), method)])


def _lzma(text: bytes) -> bytes:
    """As zip has it: a header of its own before the stream."""
    packed = lzma.compress(text, lzma.FORMAT_ALONE)
    return b"\x09\x04\x05\x00" + packed[:5] + packed[13:]


def _named(change: Callable[[str], str]) -> Build:
    return lambda name, text: zipped([deflated(change(name), text)])


def _many(name: str, text: bytes) -> bytes:
    return zipped([deflated(name, text), *(stored(f"{number}.csv", b"") for number in range(_ENTRIES))])


def _overlapping(name: str, text: bytes) -> bytes:
    """A thousand entries of one content: each alone is small."""
    return zipped([deflated(name, text)] * 1000, shared=True)


def _tar(name: str, text: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        packed.addfile(entry, io.BytesIO(text))
    return gzip.compress(file.getvalue(), mtime=0)  # the file must be the same each time


def _whole(name: str, text: bytes) -> bytes:
    return zipped([deflated(name, text)])


ZIPS: dict[str, tuple[str, Build]] = {
    "zip_bomb": ("a GB of zeros, as the zip says", lambda name, _: zipped([_bomb(name, _GIGABYTE)])),
    "zip_bomb_hidden": (
        "a GB of zeros, where the zip says 1 kB",
        lambda name, _: zipped([_bomb(name, _GIGABYTE, 1000)]),
    ),
    "zip_bomb_4_gb": (
        "a GB of zeros, where the zip says 4 GB",
        lambda name, _: zipped([_bomb(name, _GIGABYTE, 2**32 - 2)]),
    ),
    "zip_bomb_beside": (
        "a bomb beside the file",
        lambda name, text: zipped([deflated(name, text), _bomb("other.csv", _GIGABYTE)]),
    ),
    "zip_many": ("20,000 files beside the right one", _many),
    "zip_overlapping": ("a thousand files that are one", _overlapping),
    "zip_two": ("two files", lambda name, text: zipped([deflated(name, text), deflated(f"2{name}", text)])),
    "zip_twice": ("two files of the same name", lambda name, text: zipped([deflated(name, text)] * 2)),
    "zip_none": ("a zip without a file", lambda *_: zipped([])),
    "zip_in_zip": ("a zip inside the zip", lambda name, text: zipped([stored(f"{name}.zip", _whole(name, text))])),
    "zip_folder": ("a folder in place of the file", lambda name, _: zipped([stored(f"{name}/", b"")])),
    "zip_encrypted": ("an encrypted file", _one(lambda entry: entry.with_flags(1))),
    "zip_encrypted_strongly": ("a strongly encrypted file", _one(lambda entry: entry.with_flags(0x41))),
    "zip_patched": ("a file that is a patch", _one(lambda entry: entry.with_flags(0x20))),
    "zip_stored": ("a file that is not compressed", lambda name, text: zipped([stored(name, text)])),
    "zip_bzip2": ("a file compressed by bzip2", _method(12, bz2.compress)),
    "zip_lzma": ("a file compressed by LZMA", _method(14, _lzma)),
    "zip_method_99": ("a file compressed by a method that does not exist", _method(_NO_METHOD, bytes)),
    "zip_size_more": ("a size above that of the file", _one(lambda entry: entry.with_size(entry.size + 1))),
    "zip_size_less": ("a size below that of the file", _one(lambda entry: entry.with_size(entry.size // 2))),
    "zip_size_zero": ("a size of zero", _one(lambda entry: entry.with_size(0))),
    "zip_size_huge": ("a size of 4 GB for a small file", _one(lambda entry: entry.with_size(2**32 - 2))),
    "zip_packed_less": ("a packed size below the true one", _one(lambda entry: entry.with_packed(-100))),
    "zip_packed_more": ("a packed size above the true one", _one(lambda entry: entry.with_packed(100_000))),
    "zip_crc": ("a CRC that is not that of the file", _one(lambda entry: entry.with_crc(entry.crc ^ 1))),
    "zip_flipped": ("a bit of the content is not as it was", _one(lambda entry: entry.flipped())),
    "zip_name_other_pair": ("the name of another pair's file", _named(lambda name: f"OTHER{name}")),
    "zip_name_other_day": ("the name of another day's file", _named(lambda name: name.replace("-1m-2", "-1m-1"))),
    "zip_name_up": ("a name that leads out of the folder", _named(lambda name: f"../../../{name}")),
    "zip_name_absolute": ("an absolute name", _named(lambda name: f"/etc/{name}")),
    "zip_name_drive": ("a name on another drive", _named(lambda name: f"C:\\{name}")),
    "zip_name_nul": ("a name with a NUL", _named(lambda name: f"{name}\x00.exe")),
    "zip_name_long": ("a name of 60,000 letters", _named(lambda name: "n" * 60_000 + name)),
    "zip_name_empty": ("no name", _named(lambda _: "")),
    "zip_before": ("bytes before the zip", lambda name, text: b"MZ" * 500 + _whole(name, text)),
    "zip_after": ("bytes after the zip", lambda name, text: _whole(name, text) + b"after" * 500),
    "zip_comment": ("a comment of 64 kB", lambda name, text: zipped([deflated(name, text)], comment=b"c" * 65_535)),
    "zip_cut": ("a zip without its last bytes", lambda name, text: _whole(name, text)[:-20]),
    "zip_head_only": ("the first 100 bytes of a zip", lambda name, text: _whole(name, text)[:100]),
    "zip_directory_lost": (
        "a directory that is elsewhere",
        lambda name, text: zipped([deflated(name, text)], moved=500),
    ),
    "zip_directory_far": (
        "a directory at 4 GB",
        lambda name, text: zipped([deflated(name, text)], moved=2**32 - 10_000_000),
    ),
    "zip_count": ("a directory of 5 files that has one", lambda name, text: zipped([deflated(name, text)], told=5)),
    "file_empty": ("a file without a byte", lambda *_: b""),
    "file_html": ("a page of HTML", lambda *_: b"<!DOCTYPE html><html><body>Not found</body></html>"),
    "file_csv": ("the rows, not packed", lambda _, text: text),
    "file_gzip": ("the rows, packed as gzip", lambda _, text: gzip.compress(text, 1, mtime=0)),
    "file_tar": ("the rows in a tar", _tar),
    "file_zeros": ("10 MB of zeros", lambda *_: bytes(10_000_000)),
    "file_17_mb": (
        "a zip of 17 MB",
        lambda name, text: zipped([stored(name, text), stored("noise.bin", bytes(17_000_000))]),
    ),
}
"""By name: what a client gets, and the file."""


def spoil_zip(name: ArchiveName, text: bytes, build: Build) -> bytes:
    """Return the file that is served in place of a zip with this text."""
    return build(name.file.replace(".zip", ".csv"), text)
