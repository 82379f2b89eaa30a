"""HTTP requests to one address, with a size limit and a deadline each. All HTTP of this package goes through here.

Belongs here: connections, proxies, TLS, limits, deadlines. Does not belong here: what is requested, what a status
means, retries of faults (`sources.rest`, `sources.archive`, `api.dagster_client`), reading the environment
(`sources.proxies`).

urllib3 has a timeout for each read of a socket. A server that sends a byte now and then never reaches it, so here each
read gets the time that is left until the request's deadline.
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError

from market_data_pipeline.core.sources.proxies import ProxySettings, proxy_settings_for

# A server that sends no byte for so long sends none at all, however far the deadline is.
LONGEST_SILENCE_S = 20
# A timeout is set only if it changes by more: each change gives Python's lock away, which fifty threads compete for.
_TOLERANCE_S = 0.05
_PIECE_BYTES = 1 << 16
_NO_HEADERS: Mapping[str, str] = {}

# The request that this thread sends: urllib3 has no way to pass it to the connection.
_of_thread = threading.local()


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

    def __init__(self, address: str, *, connections: int, deadline_s: float, direct: bool = False) -> None:
        """Connect to nothing yet.

        Args:
            address: scheme, host, and a port other than the scheme's; a path is ignored.
            connections: how many connections are kept open.
            deadline_s: how long a request may take, from its start to the last byte of the response.
            direct: use no proxy, whatever the environment names.
        """
        parts = urlsplit(address)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._connections = connections
        self._deadline_s = deadline_s
        self._direct = direct
        self._lock = threading.Lock()
        self._in_flight: set[_Request] = set()
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
            method: the HTTP method. A GET is sent again if an idle connection turns out to be closed.
            headers: headers to send beside the usual ones.
            body: the body to send.
            deadline_s: replaces the transport's deadline.

        Raises:
            ResponseTooLarge: the body is larger than `most_bytes`.
            NoResponse: no connection, the deadline has passed, or the transport was closed.
        """
        limit_s = deadline_s or self._deadline_s
        request = _Request(limit_s, is_repeatable=method == "GET")
        with self._lock:
            if self._closed:
                raise NoResponse("the connections were closed")
            self._in_flight.add(request)
        _of_thread.request = request
        try:
            response = self._send(request, method, path, headers, body)
            return Response(response.status, response.reason or "", response.headers, _body(response, most_bytes))
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            if request.is_closed:
                raise NoResponse("the connections were closed") from error
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
        proxy = self._settings.proxy
        # One context for all connections: each loads the certificates anew, which takes longer than a request.
        tls = _tls(self._settings) if "https" in {urlsplit(self.origin).scheme, urlsplit(proxy or "").scheme} else None
        options: dict[str, Any] = {"maxsize": self._connections, "ssl_context": tls}
        pools = _proxied(self._settings, options) if proxy else urllib3.PoolManager(**options)
        pools.pool_classes_by_scheme = {
            scheme: _bounded(pool_class) for scheme, pool_class in pools.pool_classes_by_scheme.items()
        }
        return pools.connection_from_url(self.origin)

    @cached_property
    def _is_forwarded(self) -> bool:
        """True if a proxy gets the whole URL of each request: for plain HTTP, unless the proxy is a SOCKS proxy."""
        return self.origin.startswith("http:") and self._pool.proxy is not None

    def _send(
        self, request: "_Request", method: str, path: str, headers: Mapping[str, str], body: bytes | None
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
                stale = request.reuses_connection and isinstance(_innermost(error), ConnectionError)
                if not request.is_repeatable or not stale or request.is_closed:
                    raise


class _Request:
    """A request in flight: its deadline, and the socket that its thread may be waiting for."""

    def __init__(self, deadline_s: float, *, is_repeatable: bool) -> None:
        self.is_repeatable = is_repeatable
        self._ends_s = time.monotonic() + deadline_s
        self.socket: Any = None
        self.reuses_connection = False
        self.is_closed = False

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._ends_s

    def time_left_s(self) -> float:
        """How long to wait for the next byte.

        Raises:
            OSError: there is no time left, or the transport was closed.
        """
        if self.is_closed:
            raise ConnectionAbortedError("the connections were closed")
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return min(left_s, LONGEST_SILENCE_S)

    def close(self) -> None:
        """Wake the thread that waits for the socket. That thread closes the connection."""
        self.is_closed = True
        with suppress(OSError, AttributeError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _BoundedReader(io.RawIOBase):
    """Reads a socket with the time that is left for the request."""

    def __init__(self, sock: Any, request: _Request) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._socket, self._request = sock, request
        request.socket = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._request.time_left_s()
        if self._socket.gettimeout() > left_s + _TOLERANCE_S:
            self._socket.settimeout(left_s)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What http.client reads a response from."""

    def __init__(self, sock: Any, request: _Request) -> None:
        self._reader = _BoundedReader(sock, request)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        return io.BufferedReader(self._reader)


def _bounded(pool_class: Any) -> Any:
    """A pool class like this one, whose connections keep the deadline of the thread's request."""

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        has_responded = False

        @property
        def is_connected(self) -> bool:
            # The socket is not looked at where the request can be sent again: it shows whether it is closed.
            return self.sock is not None if _of_thread.request.is_repeatable else super().is_connected

        def connect(self) -> None:
            self.has_responded = False
            super().connect()

        def request(self, *arguments: Any, **options: Any) -> None:
            _of_thread.request.reuses_connection = self.has_responded
            super().request(*arguments, **options)

        def response_class(self, sock: Any, **options: Any) -> HTTPResponse:
            return HTTPResponse(_BoundedSocket(sock, _of_thread.request), **options)  # type: ignore[arg-type]

        def getresponse(self) -> Any:
            response = super().getresponse()
            self.has_responded = True
            return response

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})


def _proxied(settings: ProxySettings, options: dict[str, Any]) -> urllib3.PoolManager:
    proxy, (user, password) = settings.proxy or "", settings.credentials or ("", "")
    if proxy.startswith("socks"):
        if find_spec("socks") is None:
            raise ValueError("a SOCKS proxy needs the package PySocks, which is not installed")
        from urllib3.contrib.socks import SOCKSProxyManager

        return SOCKSProxyManager(proxy, user or None, password or None, **options)
    headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if settings.credentials else {}
    return urllib3.ProxyManager(proxy, proxy_headers=headers, proxy_ssl_context=options["ssl_context"], **options)


def _tls(settings: ProxySettings) -> ssl.SSLContext:
    # certifi's, because not every Python finds the certificates of its system.
    path = settings.certificates or certifi.where()
    if not Path(path).exists():
        raise ValueError(f"there are no certificates at {path}; check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE")
    is_folder = Path(path).is_dir()
    return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)


def _body(response: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    try:
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


def _innermost(error: BaseException) -> BaseException:
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error


def _reason(error: BaseException) -> str:
    """The first cause in a few words, `Connection refused`, without the layers that passed it on."""
    cause = _innermost(error)
    return " ".join(str(getattr(cause, "strerror", None) or cause).split())[:120] or type(cause).__name__
