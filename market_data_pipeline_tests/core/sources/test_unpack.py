"""Files of the archive that are not what they claim to be: refused, with no more memory than a day needs."""

import io
import struct
import tracemalloc
import zipfile

import pytest

from market_data_pipeline.core.sources.archive.unpack import MOST_CSV_BYTES, BadZip, unpack

ROW = b"1704067200000,1.0,2.0,0.5,1.5,10,1704067259999,15,3,5,7.5,0\n"


def zipped(*contents: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.csv", content)
    return file.getvalue()


def declared(packed: bytes, size: int) -> bytes:
    """The zip with another size of its one file in both of its headers."""
    changed, directory = bytearray(packed), packed.rindex(b"PK\x01\x02")
    struct.pack_into("<I", changed, 22, size)
    struct.pack_into("<I", changed, directory + 24, size)
    return bytes(changed)


def encrypted(packed: bytes) -> bytes:
    """The zip with the flag of encryption in both headers of its one file."""
    changed, directory = bytearray(packed), packed.rindex(b"PK\x01\x02")
    changed[6] |= 1
    changed[directory + 8] |= 1
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("header", [b"", b"open_time,open\n"])
def test_klines_with_or_without_a_header_line(method: int, header: bytes) -> None:
    klines = unpack(zipped(header + ROW, method=method)).klines
    assert klines.column("open_time").to_pylist() == [1_704_067_200_000]


def test_microseconds_become_milliseconds() -> None:
    row = ROW.replace(b"7200000,", b"7200000000,").replace(b"59999,", b"59999999,")
    klines = unpack(zipped(row)).klines
    assert klines.column("close_time").to_pylist() == [1_704_067_259_999]


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"no zip", "not a zip file"),
        (zipped(), "not one file"),
        (zipped(ROW, ROW), "not one file"),
        (zipped(bytes(MOST_CSV_BYTES + 1)), "not one file of a day's size"),
        (zipped(ROW, method=zipfile.ZIP_LZMA), "method 14"),
        (encrypted(zipped(ROW)), "encrypted"),
        (zipped(zipped(ROW)), "."),
        (zipped(*[b""] * 5000), "not one file"),
        (declared(zipped(ROW * 100), len(ROW)), "CRC|declared"),
        (declared(zipped(ROW), len(ROW) + 1), "declared"),
        (zipped(b"1,2,3\n"), "."),
    ],
)
def test_a_zip_that_is_not_one_days_klines_is_refused(packed: bytes, reason: str) -> None:
    with pytest.raises(BadZip, match=reason):
        unpack(packed)


@pytest.mark.parametrize("number", [0x00, 0x7F, 0x80, 0xFF])
def test_a_zip_with_any_wrong_byte_is_klines_or_refused(number: int) -> None:
    packed = zipped(ROW)
    whole, read = unpack(packed).klines, 0
    for at in range(len(packed)):
        changed = packed[:at] + bytes([number]) + packed[at + 1 :]
        try:
            rows = unpack(changed)
        except BadZip:
            continue
        assert rows.klines.equals(whole)
        read += 1
    assert read


def test_a_zip_that_unpacks_to_more_than_it_declares_is_not_unpacked() -> None:
    bomb = declared(zipped(bytes(200_000_000)), 1000)
    tracemalloc.start()
    try:
        with pytest.raises(BadZip):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
