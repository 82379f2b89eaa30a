"""Faults of how an answer is sent: without end, slowly, with lengths and encodings that are not so.

Belongs here: the status line, lengths, chunks, encodings, pauses. Does not belong here: what the body says
(`documents`).
"""

import gzip
import itertools
import zlib

from market_data_pipeline.simulator.hostile.answer import Answer, Framing, Pieces
from market_data_pipeline.simulator.hostile.bombs import GZIP_HEAD, deflated_megabyte

# Longer than any client waits.
_SILENCE_S = 3600.0
_PIECE = b" " * (1 << 16)
_CHUNK = b"10000\r\n" + _PIECE + b"\r\n"
_MANY_ENCODINGS = 12


def _length(answer: Answer) -> str:
    return f"Content-Length: {len(answer.body)}"


def _endless_body(answer: Answer) -> Pieces:
    return itertools.chain([answer.head(), answer.body], itertools.repeat(_PIECE))


def _endless_chunked(answer: Answer) -> Pieces:
    return itertools.chain([answer.head("Transfer-Encoding: chunked")], itertools.repeat(_CHUNK))


def _endless_long(answer: Answer) -> Pieces:
    """A length is told, and it is what comes."""
    return itertools.chain([answer.head(f"Content-Length: {10**12}"), answer.body], itertools.repeat(_PIECE))


def _gzip_bomb(answer: Answer) -> Pieces:
    megabytes = deflated_megabyte() * 16
    return itertools.chain([answer.head("Content-Encoding: gzip"), GZIP_HEAD], itertools.repeat(megabytes))


def _gzip_bomb_in_gzip(answer: Answer) -> Pieces:
    """A bomb of a bomb: a MB of zeros deflated, a thousand of these deflated again."""
    outer = zlib.compressobj(9, zlib.DEFLATED, 31)
    inner = outer.compress(GZIP_HEAD + deflated_megabyte() * 20_000) + outer.flush()
    return iter([answer.head("Content-Encoding: gzip, gzip", f"Content-Length: {len(inner)}"), inner])


def _deflate_bomb(answer: Answer) -> Pieces:
    megabytes = deflated_megabyte() * 16
    return itertools.chain([answer.head("Content-Encoding: deflate")], itertools.repeat(megabytes))


def _dripping(head: bytes, content: bytes, pause_s: float = 1.0) -> Pieces:
    yield head
    for at in range(len(content)):
        yield content[at : at + 1]
        yield pause_s


def _slow_body(answer: Answer) -> Pieces:
    return _dripping(answer.head(_length(answer)), answer.body)


def _slow_chunks(answer: Answer) -> Pieces:
    yield answer.head("Transfer-Encoding: chunked")
    for at in range(len(answer.body)):
        yield b"1\r\n" + answer.body[at : at + 1] + b"\r\n"
        yield 1.0


def _slow_head(answer: Answer) -> Pieces:
    return _dripping(b"", answer.head(_length(answer)) + answer.body)


def _endless_header(answer: Answer) -> Pieces:
    return itertools.chain([answer.head()[:-2], b"X-Long: "], itertools.repeat(_PIECE))


def _endless_headers(answer: Answer) -> Pieces:
    return itertools.chain([answer.head()[:-2]], itertools.repeat(b"X-More: yes\r\n" * 1000))


def _endless_continue(answer: Answer) -> Pieces:
    del answer
    return itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def _endless_trailer(answer: Answer) -> Pieces:
    chunks = b"%x\r\n%s\r\n0\r\n" % (len(answer.body), answer.body)
    return itertools.chain([answer.head("Transfer-Encoding: chunked"), chunks], itertools.repeat(b"X-More: yes\r\n"))


def _endless_extension(answer: Answer) -> Pieces:
    """The size of a chunk is a line, in which further words may follow."""
    return itertools.chain([answer.head("Transfer-Encoding: chunked"), b"10;"], itertools.repeat(_PIECE))


def _told(*lengths: str) -> Framing:
    def framed(answer: Answer) -> Pieces:
        told = (text.format(length=len(answer.body), more=len(answer.body) + 1000) for text in lengths)
        return iter([answer.head(*(f"Content-Length: {text}" for text in told)), answer.body])

    return framed


def _less(answer: Answer) -> Pieces:
    return iter([answer.head(f"Content-Length: {len(answer.body) // 2}"), answer.body])


def _encoded(encoding: str, packed: bool = False) -> Framing:
    def framed(answer: Answer) -> Pieces:
        body = gzip.compress(answer.body, 1) if packed else answer.body
        return iter([answer.head(f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}"), body])

    return framed


def _many_encodings(answer: Answer) -> Pieces:
    body = answer.body
    for _ in range(_MANY_ENCODINGS):
        body = gzip.compress(body, 1)
    return iter(
        [
            answer.head("Content-Encoding: " + ", ".join(["gzip"] * _MANY_ENCODINGS), f"Content-Length: {len(body)}"),
            body,
        ]
    )


def _gzip_cut(answer: Answer) -> Pieces:
    body = gzip.compress(answer.body, 1)[:-12]
    return iter([answer.head("Content-Encoding: gzip", f"Content-Length: {len(body)}"), body])


def _gzip_flipped(answer: Answer) -> Pieces:
    body = bytearray(gzip.compress(answer.body, 1))
    body[-6] ^= 0xFF  # of the checksum at its end
    return iter([answer.head("Content-Encoding: gzip", f"Content-Length: {len(body)}"), bytes(body)])


def _gzip_followed(answer: Answer) -> Pieces:
    """After the end of what is compressed follow zeros without end."""
    packed = gzip.compress(answer.body, 1)
    return itertools.chain([answer.head("Content-Encoding: gzip"), packed], itertools.repeat(bytes(1 << 16)))


def _chunks(lines: bytes) -> Framing:
    return lambda answer: iter([answer.head("Transfer-Encoding: chunked"), lines, answer.body])


def _silent(head: Framing) -> Framing:
    return lambda answer: itertools.chain(head(answer), [_SILENCE_S])


def _raw(content: bytes) -> Framing:
    return lambda _: iter([content])


def _in_chunks(answer: Answer) -> bytes:
    pieces = (answer.body[at : at + 100] for at in range(0, len(answer.body), 100))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _odd_head(answer: Answer) -> bytes:
    return answer.head(f"X-Odd: {chr(0)}{''.join(map(chr, range(128, 256)))}", _length(answer))


FRAMING: dict[str, tuple[str, Framing]] = {
    "endless_body": ("a body without length and end", _endless_body),
    "endless_chunked": ("chunks without end", _endless_chunked),
    "endless_long": ("a length of a TB, and as many bytes", _endless_long),
    "endless_header": ("a header without end", _endless_header),
    "endless_headers": ("headers without end", _endless_headers),
    "endless_continue": ("100 Continue, again and again", _endless_continue),
    "endless_trailer": ("headers without end after the last chunk", _endless_trailer),
    "endless_extension": ("the line of a chunk's size without end", _endless_extension),
    "gzip_bomb": ("compressed zeros without end", _gzip_bomb),
    "gzip_bomb_in_gzip": ("20 GB of zeros, compressed twice", _gzip_bomb_in_gzip),
    "deflate_bomb": ("zeros without end, compressed as deflate", _deflate_bomb),
    "gzip_followed": ("zeros without end after a compressed body", _gzip_followed),
    "slow_body": ("a byte of the body a second", _slow_body),
    "slow_chunks": ("a chunk of one byte a second", _slow_chunks),
    "slow_head": ("a byte of the head a second", _slow_head),
    "silent_at_once": ("nothing, and the connection stays open", _silent(_raw(b""))),
    "silent_in_head": ("half a head, then nothing", _silent(lambda answer: iter([answer.head()[:-2]]))),
    "silent_after_head": ("a head, then nothing", _silent(lambda answer: iter([answer.head(_length(answer))]))),
    "silent_in_chunk": ("a chunk that is promised and does not come", _silent(_chunks(b"ffffff\r\n"))),
    "length_more": ("a length of more than the body has", _told("{more}")),
    "length_less": ("a length of half the body", _less),
    "length_negative": ("a length below zero", _told("-5")),
    "length_text": ("a length that is no number", _told("many")),
    "length_hex": ("a length in hexadecimal", _told("0x10")),
    "length_huge": ("a length of a hundred digits", _told("9" * 100)),
    "length_digits": ("a length of more digits than Python reads", _told("9" * 5000)),
    "length_zero": ("a length of zero before a body", _told("0")),
    "length_twice": ("two lengths, of which one is right", _told("{length}", "7")),
    "encoding_unknown": ("an encoding that does not exist", _encoded("snappy-9")),
    "encoding_lies": ("a body said to be gzip that is not", _encoded("gzip")),
    "encoding_deflate_lies": ("a body said to be deflate that is gzip", _encoded("deflate", packed=True)),
    "encoding_zstd_lies": ("a body said to be zstd that is not", _encoded("zstd")),
    "encoding_many": ("a body compressed twelve times", _many_encodings),
    "encoding_twice_lies": ("a body said to be compressed twice that is once", _encoded("gzip, gzip", packed=True)),
    "gzip": ("a compressed body, as it should be", _encoded("gzip", packed=True)),
    "gzip_cut": ("a compressed body that ends too soon, with the right length", _gzip_cut),
    "gzip_flipped": ("a compressed body with a wrong checksum", _gzip_flipped),
    "chunks": ("chunks, as they should be", lambda of: iter([of.head("Transfer-Encoding: chunked"), _in_chunks(of)])),
    "chunk_text": ("a chunk whose size is no number", _chunks(b"many\r\n")),
    "chunk_negative": ("a chunk whose size is below zero", _chunks(b"-5\r\n")),
    "chunk_huge": ("a chunk of a hundred digits", _chunks(b"f" * 100 + b"\r\n")),
    "chunk_cut": ("the chunks end before their end", _chunks(b"fffff\r\n")),
    "status_text": ("a status that is no number", _raw(b"HTTP/1.1 fine Fine\r\n\r\n")),
    "status_negative": ("a status below zero", _raw(b"HTTP/1.1 -20 Text\r\n\r\n")),
    "status_huge": ("a status of twenty digits", _raw(b"HTTP/1.1 " + b"2" * 20 + b" Text\r\n\r\n")),
    "status_999": ("a status that means nothing", lambda of: iter([b"HTTP/1.1 999 Text\r\n\r\n", of.body])),
    "version_9": ("an HTTP version of the future", lambda of: iter([of.head().replace(b"1.1", b"9.9", 1), of.body])),
    "no_http": ("bytes that are no HTTP", _raw(bytes(range(256)) * 16)),
    "header_without_colon": (
        "a header line without a colon",
        lambda of: iter([b"HTTP/1.1 200 OK\r\nno\r\n\r\n", of.body]),
    ),
    "header_nul": ("a header with NUL and bytes that are no text", lambda of: iter([_odd_head(of), of.body])),
    "headers_many": (
        "ten thousand headers",
        lambda of: iter([of.head()[:-2] + b"X-M: 1\r\n" * 10_000 + b"\r\n", of.body]),
    ),
    "redirect_loop": ("a redirect to the same address", _raw(b"HTTP/1.1 302 Found\r\nLocation: ?\r\n\r\n")),
    "redirect_file": ("a redirect to a file", _raw(b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/hosts\r\n\r\n")),
    "switching": (
        "a change to another protocol",
        _raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + _PIECE),
    ),
}
"""By name: what a client gets, and how it is sent."""
