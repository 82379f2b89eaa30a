"""A proxy before a server of objects: it notes what was written there, and can lose answers on the way back.

Belongs here: passing requests on, the notes, and what follows from them alone (`broken_chains`). Does not belong here:
the server (`servers`), what is tested.
"""

import http.client
import os
import re
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple
from urllib.parse import unquote, urlsplit

_TIMEOUT_S = 60
_HOP = {"connection", "transfer-encoding", "keep-alive"}


class Request(NamedTuple):
    """A request and how it was answered. `expected` is the ETag that a write names, `*` that there must be no object.

    `etag` is that of the object which was written, `at_ns` when the answer came, of the monotonic clock.
    """

    method: str
    key: str
    query: str
    expected: str | None
    status: int
    etag: str | None
    at_ns: int = 0

    @property
    def writes(self) -> bool:
        """Whether an object is another one now, or is there no more."""
        return self.status < 300 and self.method in {"PUT", "DELETE"} and not self.query


Loses = Callable[[Request], bool]


class Cut(Enum):
    """How a connection ends whose answer is lost."""

    CLOSED = "closed before the answer"
    RESET = "reset before the answer"
    IN_THE_HEAD = "closed within the head of the answer"
    IN_THE_BODY = "closed within the body of the answer, if it has one"


@dataclass
class ObjectsProxy:
    """A proxy that runs. `url` takes the place of the server's, `requests` has all that were answered, in order."""

    url: str
    requests: list[Request] = field(default_factory=list)
    loses: Loses = lambda _: False
    lost: list[Request] = field(default_factory=list)
    """Those whose answers did not arrive, because `loses` said so."""
    sent_bytes: list[int] = field(default_factory=list)
    """How long the body of each answer was that was passed on, in order."""
    cut: Cut = Cut.CLOSED
    forgotten: set[str] = field(default_factory=set)
    """The queries of requests that end an upload, of which the server shall know nothing."""
    changing: threading.Lock = field(default_factory=threading.Lock)

    def lose_each_once(self, of: Callable[[Request], bool]) -> None:
        """Lose the first answer to a request for each object, if the request is one of these."""
        seen: set[tuple[str, str]] = set()

        def loses(request: Request) -> bool:
            mark = request.method, request.key
            with self.changing:
                if mark in seen or not of(request):
                    return False
                seen.add(mark)
                return True

        self.loses = loses


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: the client would wait 40 ms to acknowledge the first of two.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    proxy: ClassVar[ObjectsProxy]
    server_at: ClassVar[tuple[str, int]]

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "POST" and urlsplit(self.path).query in self.proxy.forgotten:
            self._forget()
            return
        try:
            answer, content = self._answer(body)
        except (OSError, http.client.HTTPException):
            self._hang_up()
            return
        request = self._noted(answer, body)
        with self.proxy.changing:
            self.proxy.requests.append(request._replace(at_ns=time.monotonic_ns()))
        # What `loses` does may send requests, too.
        if self.proxy.loses(request):
            self.proxy.lost.append(request)
            self._lose(answer, content)
            return
        self._send(answer, content)

    def _lose(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        if self.proxy.cut is Cut.RESET:
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # closing it resets it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            socket.close(self.connection.detach())
            return
        if self.proxy.cut is Cut.IN_THE_HEAD:
            self.wfile.write(b"HTTP/1.1 200")
        elif self.proxy.cut is Cut.IN_THE_BODY and content:
            self._send(answer, content, sent=len(content) - 1)
        self.wfile.flush()
        self._hang_up()

    def _send(self, answer: http.client.HTTPResponse, content: bytes, sent: int | None = None) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.proxy.sent_bytes.append(len(content))
        with suppress(OSError):
            self.wfile.write(content[:sent])

    def _forget(self) -> None:
        content = b"<Error><Code>NoSuchUpload</Code><Message>The upload does not exist.</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        with closing(http.client.HTTPConnection(*self.server_at, timeout=_TIMEOUT_S)) as connection:
            # With the name of the host that the client knows, which its signature has.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()

    def _noted(self, answer: http.client.HTTPResponse, body: bytes) -> Request:
        url = urlsplit(self.path)
        key = unquote(url.path).lstrip("/").partition("/")[2]
        expected = "*" if self.headers.get("If-None-Match") else _etag(self.headers.get("If-Match"))
        if url.query.startswith("delete"):  # which may name several
            [key] = re.findall("<Key>(.*?)</Key>", body.decode())
            return Request("DELETE", key, "", expected, answer.status, None)
        return Request(self.command, key, url.query, expected, answer.status, _etag(answer.getheader("ETag")))

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815


@contextmanager
def proxied(upstream: str) -> Iterator[ObjectsProxy]:
    """A proxy before the server at this address."""
    target, proxy = urlsplit(upstream), ObjectsProxy("")
    handler = type("Handler", (_Handler,), {"proxy": proxy, "server_at": (target.hostname, target.port)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def broken_chains(requests: Iterable[Request], of: Callable[[str], bool]) -> Iterator[str]:
    """What is wrong in the history of some objects, one line each; nothing if no write was lost.

    Each successful write has to name the version before it, and no two may name the same one. As one content has one
    ETag whenever it is written, a version may come again: then as many writes must lead to it as away from it.
    """
    writes: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        if request.writes and of(request.key):
            writes[request.key].append(request)
    for key, of_key in writes.items():
        if blind := [request.method for request in of_key if request.method == "DELETE" or not request.expected]:
            yield f"{key}: {blind[0]} without a condition"
            continue
        balance = Counter(request.etag for request in of_key)
        balance.subtract("" if request.expected == "*" else request.expected for request in of_key)
        ends = {etag: count for etag, count in balance.items() if count}
        if balance[""] != -1:
            yield f"{key}: created {-balance['']} times"
        elif len(ends) > 2 or any(count > 1 for count in ends.values()):
            yield f"{key}: several writes replaced one version: {ends}"


def last_version(requests: Iterable[Request], key: str) -> str | None:
    """The ETag at which the chain of an object ends; that at which it began if it leads back to it."""
    of_key = [request for request in requests if request.writes and request.key == key]
    balance = Counter(request.etag for request in of_key)
    balance.subtract(request.expected for request in of_key if request.expected != "*")
    [last] = [etag for etag, count in balance.items() if count == 1]
    return last


def _etag(header: str | None) -> str | None:
    return header.removeprefix("W/").strip('"') if header else None
