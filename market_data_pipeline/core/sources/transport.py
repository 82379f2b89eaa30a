"""HTTP requests to one address, with a size limit and a deadline each. All HTTP of this package goes through here.

Belongs here: size limits, deadlines, a second try over a new connection, the reason of a failure. Does not belong here:
sockets (`sources.connections`), what is requested, what a status means, retries of faults (`sources.rest`,
`sources.archive`, `api.dagster_client`).
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from market_data_pipeline.core.sources.connections import (
    RequestInFlight,
    innermost,
    open_pool,
    set_request_of_thread,
)
from market_data_pipeline.core.sources.lookup import Resolve, addresses_of
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.proxies import ProxySettings, proxy_settings_for
from market_data_pipeline.core.text import one_line

_PIECE_BYTES = 1 << 16
# What a response may have beside its body: status lines, headers, trailers, and for each chunk as much as is in it.
_MOST_AROUND_BYTES = 1 << 18
_TIMES_IN_CHUNKS = 2
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_REPEATABLE = frozenset({"GET", "HEAD"})
_NO_HEADERS: Mapping[str, str] = {}


class NoResponse(Exception):
    """There is no complete response; the text has the reason. A later request may succeed."""


class ResponseTooLarge(NoResponse):
    """The response is larger than the request allows."""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response. The names of `headers` are case-insensitive, and `body` is decoded (gzip, deflate)."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Requests to one address over connections that stay open. Threads may share it."""

    def __init__(
        self,
        address: str,
        *,
        connections: int,
        deadline_s: float = 60,
        direct: bool = False,
        resolve: Resolve = addresses_of,
    ) -> None:
        """Connect to nothing yet.

        Args:
            address: scheme, host, and a port other than the scheme's; a path is ignored.
            connections: how many connections are kept open.
            deadline_s: how long a request may take, from its start to the last byte of the response.
            direct: use no proxy, whatever the environment names.
            resolve: gives the IP addresses of a host.
        """
        parts = urlsplit(address)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._connections = connections
        self._deadline_s = deadline_s
        self._direct = direct
        self._resolve = resolve
        self._lock = threading.Lock()
        self.traffic = Traffic()
        """What was answered so far."""
        self._in_flight: set[RequestInFlight] = set()
        self._closed = False

    def request(
        self,
        path: str,
        *,
        most_bytes: int,
        method: str = "GET",
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | None = None,
        deadline_s: float | None = None,
    ) -> Response:
        """Send a request and read the whole response. Redirects are not followed, cookies not kept.

        Args:
            path: what is requested, from the first slash on.
            most_bytes: the largest body that is accepted, in bytes after decoding.
            method: the HTTP method. A GET or HEAD is sent again if an idle connection turns out to be closed.
            headers: headers to send beside the usual ones.
            body: the body to send.
            deadline_s: replaces the transport's deadline.

        Raises:
            ResponseTooLarge: the body is larger than `most_bytes`, or what is sent around it is without measure.
            NoResponse: no connection, the body is framed or encoded in a way that is not accepted, the deadline has
                passed, or the transport was closed.
        """
        limit_s = deadline_s or self._deadline_s
        most_received = _MOST_AROUND_BYTES + _TIMES_IN_CHUNKS * most_bytes
        request = RequestInFlight(limit_s, is_repeatable=method in _REPEATABLE, most_bytes=most_received)
        with self._lock:
            if self._closed:
                raise NoResponse("the connections were closed")
            self._in_flight.add(request)
        set_request_of_thread(request)
        try:
            response = self._send(request, method, path, headers, body)
            content = _body(response, most_bytes)
            with self._lock:
                self.traffic += Traffic(1, response.tell())
            return Response(response.status, response.reason or "", response.headers, content)
        except (HTTPError, OSError, ValueError) as error:
            if request.is_closed:
                raise NoResponse("the connections were closed") from error
            if request.is_over:
                raise ResponseTooLarge(
                    f"the response has more than the {most_bytes} bytes that are accepted"
                ) from error
            if request.is_late:
                raise NoResponse(f"the response was not complete within {limit_s:g} s") from error
            raise NoResponse(_reason(error)) from error
        finally:
            with self._lock:
                self._in_flight.discard(request)

    @property
    def proxy_hint(self) -> str:
        """The proxy that requests go through, for the text of an error; begins with a space, empty without one."""
        with suppress(ValueError):
            return self._settings.hint
        return ""

    def close(self) -> None:
        """Close all connections. Requests in flight fail at once; one that is still connecting fails when it is."""
        with self._lock:
            self._closed = True
            in_flight = list(self._in_flight)
        for request in in_flight:
            request.close()
        if "_pool" in self.__dict__:
            self._pool.close()

    @cached_property
    def _settings(self) -> ProxySettings:
        return ProxySettings() if self._direct else proxy_settings_for(self.origin)

    @cached_property
    def _pool(self) -> urllib3.HTTPConnectionPool:
        return open_pool(self.origin, self._settings, connections=self._connections, resolve=self._resolve)

    @cached_property
    def _is_forwarded(self) -> bool:
        """True if a proxy gets the whole URL of each request: for plain HTTP, unless the proxy is a SOCKS proxy."""
        return self.origin.startswith("http:") and self._pool.proxy is not None

    def _send(
        self, request: RequestInFlight, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        with self._lock:  # cached_property has no lock of its own
            pool, target = self._pool, path
            if self._is_forwarded:
                target, headers = self.origin + path, {"Host": urlsplit(self.origin).netloc, **headers}
        while True:
            try:
                return pool.urlopen(
                    method,
                    target,
                    body=body,
                    headers=headers,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    timeout=request.time_left_s(),
                    preload_content=False,
                )
            except (HTTPError, OSError) as error:
                # The other side closed a connection that was idle. A new connection ends the loop.
                stale = request.reuses_connection and isinstance(innermost(error), ConnectionError)
                if not request.is_repeatable or not stale or request.is_closed:
                    raise


def _body(response: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    try:
        _require_plain(response)
        length: int | None = response.length_remaining
        if (length or 0) > most_bytes:
            raise ResponseTooLarge(f"the response has {length} bytes, more than the {most_bytes} that are accepted")
        if length is not None and "Content-Encoding" not in response.headers:
            return response.read()
        pieces, size = list[bytes](), 0
        while piece := response.read(_PIECE_BYTES):
            pieces.append(piece)
            if (size := size + len(piece)) > most_bytes:
                raise ResponseTooLarge(f"the response has more than the {most_bytes} bytes that are accepted")
        return b"".join(pieces)
    except BaseException:
        response.close()
        raise


def _require_plain(response: urllib3.BaseHTTPResponse) -> None:
    """Refuse what an honest server does not send.

    Raises:
        NoResponse: a length that is none, several lengths, several encodings, or one that was not asked for.
    """
    lengths = {value.strip() for value in response.headers.getlist("Content-Length")}
    if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise NoResponse("the response does not say clearly how long it is")
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise NoResponse(f"the response is encoded as {one_line(encoding, 40)!r}")


def _reason(error: BaseException) -> str:
    """The first cause in a few words, `Connection refused`, without the layers that passed it on."""
    cause = innermost(error)
    return one_line(str(getattr(cause, "strerror", None) or cause), 120) or type(cause).__name__
