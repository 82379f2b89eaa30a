"""An exchange over raw sockets, which sends exactly the bytes that a test wants, also such that no HTTP server sends.

It has one pair, with a kline for each minute, and its clock stands. Does not belong here: any assertion.
"""

import hashlib
import io
import json
import socket
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from market_data_pipeline_tests.core.fakes import klines_at
from market_data_pipeline_tests.support import MINUTE_MS, at

Reply = bytes | Iterable[bytes | float] | None
"""What is sent: bytes, or pieces of them with pauses (in seconds) between; None for the truth."""
NOW_MS = at("2024-05-15T12:00:05")
FIRST_MS = at("2017-08-17T04:00")
LONGEST_REPLY_S = 20


def http(body: bytes | str = b"", status: int = 200, *headers: str, length: bool = True) -> bytes:
    """A whole response. `headers` are lines; without `length`, the body ends with the connection."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Text", "Content-Type: application/json", *headers, "Connection: close"]
    if length:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def rows_of(klines: pa.Table) -> list[list[object]]:
    """The klines as the exchange sends them: prices and volumes as texts."""
    return [[str(value) if isinstance(value, float) else value for value in row.values()] for row in klines.to_pylist()]


def zipped(csv: bytes, name: str = "day.csv", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, csv)
    return file.getvalue()


def csv_of(klines: pa.Table) -> bytes:
    return b"".join(",".join(map(str, row)).encode() + b"\n" for row in rows_of(klines))


def checksum(packed: bytes) -> bytes:
    return f"{hashlib.sha256(packed).hexdigest()}  day.zip\n".encode()


class RawExchange:
    """The running server: `replies` has what is sent next in place of the truth.

    They are by the last part of the path, or by a part of the query, such as `startTime=0`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: dict[str, list[Reply]] = {}
        self.received: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        """The archive's files by name; every other file is not there."""
        self._lock = threading.Lock()

    def reply(self, target: str) -> bytes | Iterable[bytes | float]:
        parts = urlsplit(target)
        name = parts.path.rpartition("/")[2]
        with self._lock:
            self.received[name] += 1
            for asked, replies in self.replies.items():
                if replies and (name.endswith(asked) or asked in parts.query):
                    reply = replies.pop(0) if len(replies) > 1 else replies[0]
                    if reply is not None:
                        return reply
        if name in self.files:
            return http(self.files[name])
        return http(*self._truth(name, dict(parse_qsl(parts.query))))

    @staticmethod
    def _truth(name: str, params: dict[str, str]) -> tuple[str, int]:
        if name == "time":
            return f'{{"serverTime":{NOW_MS}}}', 200
        if name == "exchangeInfo":
            pair = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"}
            return json.dumps({"timezone": "UTC", "symbols": [pair]}), 200
        if name != "klines":
            return "<Error><Code>NoSuchKey</Code></Error>", 404
        last_ms = NOW_MS // MINUTE_MS * MINUTE_MS
        limit, end_ms = int(params.get("limit", 500)), min(int(params.get("endTime", last_ms)), last_ms)
        start_ms = int(params["startTime"]) if "startTime" in params else last_ms - (limit - 1) * MINUTE_MS
        opens = range(max(start_ms, FIRST_MS), end_ms + 1, MINUTE_MS)[:limit]
        return json.dumps(rows_of(klines_at(opens)), separators=(",", ":")), 200


@contextmanager
def raw_exchange() -> Iterator[RawExchange]:
    """Run the server, each connection in a thread of its own."""
    ended = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.settimeout(0.05)
        exchange = RawExchange(f"http://127.0.0.1:{server.getsockname()[1]}")

        def accept() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = server.accept()
                    threads.append(threading.Thread(target=_serve, args=[connection, exchange, ended], daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield exchange
        finally:
            ended.set()
            accepting.join(10)
            for thread in threads:
                thread.join(10)


def _serve(connection: socket.socket, exchange: RawExchange, ended: threading.Event) -> None:
    until_s = time.monotonic() + LONGEST_REPLY_S
    with connection, suppress(OSError):  # the client may hang up
        connection.settimeout(5)
        request = b""
        while b"\r\n\r\n" not in request:
            received = connection.recv(4096)
            if not received:
                return
            request += received
        reply = exchange.reply(request.split(b" ", 2)[1].decode())
        for piece in [reply] if isinstance(reply, bytes) else reply:
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                ended.wait(piece)
            if ended.is_set() or time.monotonic() > until_s:
                break
        # The client may not have read all of it, and a socket that closes with unread data resets the connection.
        connection.shutdown(socket.SHUT_WR)
