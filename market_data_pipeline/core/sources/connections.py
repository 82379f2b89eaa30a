"""Connections of urllib3 that keep to the deadline of a request, through a proxy where the environment names one.

Belongs here: sockets, pools, TLS, tunnels. Does not belong here: requests and their limits (`sources.transport`),
reading the environment (`sources.proxies`).

urllib3 has a timeout for each read of a socket. A server that sends a byte now and then never reaches it, so here each
read gets the time that is left until the request's deadline. It has one for each address of a host, too. Here all
addresses of a host or a SOCKS proxy share the time with its lookup, so that a dead one leaves the next ones theirs.
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPResponse
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError

from market_data_pipeline.core.sources.lookup import Resolve, addresses_of, done_within, looked_up
from market_data_pipeline.core.sources.proxies import ProxySettings

# A server that sends no byte for so long sends none at all, however far the deadline is.
LONGEST_SILENCE_S = 20
# A timeout is shortened only by more: each change gives Python's lock away, which fifty threads compete for.
_TOLERANCE_S = 0.05
# A file of the archive has 70 kB.
_BUFFER_BYTES = 1 << 17
_of_thread = threading.local()


class RequestInFlight:
    """A request in flight: its deadline, what it may receive, and the socket that its thread may be waiting for."""

    def __init__(self, deadline_s: float, *, is_repeatable: bool, most_bytes: int) -> None:
        self.is_repeatable = is_repeatable
        self._bytes_left = most_bytes
        self._ends_s = time.monotonic() + deadline_s
        self.socket: Any = None
        self.reuses_connection = False
        self.is_closed = False

    @property
    def is_late(self) -> bool:
        """True if the deadline has passed."""
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

    @property
    def is_over(self) -> bool:
        """True if the other side sent more than the request may receive."""
        return self._bytes_left < 0

    def note_received(self, size_bytes: int) -> None:
        """Count bytes of the socket, of the head, the body and all that is around them.

        Raises:
            OSError: these are more than the request may receive.
        """
        self._bytes_left -= size_bytes
        if self.is_over:
            raise OSError("the response is too large")

    def close(self) -> None:
        """Wake the thread that waits for the socket. That thread closes the connection."""
        self.is_closed = True
        with suppress(OSError, AttributeError):
            self.socket.shutdown(socket.SHUT_RDWR)


def set_request_of_thread(request: RequestInFlight) -> None:
    """Name the request that this thread sends next: urllib3 has no way to pass it to the connection."""
    _of_thread.request = request


def open_pool(
    origin: str, settings: ProxySettings, *, connections: int, resolve: Resolve = addresses_of
) -> urllib3.HTTPConnectionPool:
    """Return a pool of connections to an origin (scheme, host, port) that keep to the deadline of their request.

    `resolve` gives the addresses of a host, or of a SOCKS proxy. It is not asked about a host behind one.

    Raises:
        ValueError, OSError: the proxy or the certificates of the settings cannot be used.
    """
    # One context for all connections: each loads the certificates anew, which takes longer than a request.
    tls = _tls(settings) if "https" in {urlsplit(origin).scheme, urlsplit(settings.proxy or "").scheme} else None
    options: dict[str, Any] = {"maxsize": connections, "ssl_context": tls}
    pools = _proxied(settings, options) if settings.proxy else urllib3.PoolManager(**options)
    route: type[_Route] = _SocksRoute if (settings.proxy or "").startswith("socks") else _Route
    pools.pool_classes_by_scheme = {
        scheme: _bounded(pool_class, route, resolve) for scheme, pool_class in pools.pool_classes_by_scheme.items()
    }
    return pools.connection_from_url(origin)


def innermost(error: BaseException) -> BaseException:
    """Return the first cause of an error."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error


class _Steady:
    """A socket that is set to a timeout only if it has another one.

    urllib3 sets it twice for each request, mostly to the same value, and each time gives Python's lock away.
    """

    def settimeout(self, value: float | None) -> None:
        if value != self.gettimeout():  # type: ignore[attr-defined]
            super().settimeout(value)  # type: ignore[misc]


class _SteadySocket(_Steady, socket.socket):
    pass


class _SteadyTlsSocket(_Steady, ssl.SSLSocket):
    pass


class _BoundedReader(io.RawIOBase):
    """Reads a socket with the time that is left for the request."""

    def __init__(self, sock: Any, request: RequestInFlight) -> None:
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
        self._request.note_received(read or 0)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What http.client reads a response from."""

    def __init__(self, sock: Any, request: RequestInFlight) -> None:
        self._reader = _BoundedReader(sock, request)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        return io.BufferedReader(self._reader, _BUFFER_BYTES)


class _Route:
    """What a connection connects to first: its host, or the proxy that it sends its requests to."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.host, self.port = connection.host, connection.port

    def open(self, address: str, open_socket: Callable[[], Any]) -> Any:
        """A socket to this address of the host, opened within the connection's timeout."""
        self._connection.host = address
        try:
            return open_socket()
        finally:
            self._connection.host = self.host  # TLS compares it with the certificate


class _SocksRoute(_Route):
    """A SOCKS proxy, which connects to the host. The library has a timeout for each byte of its answers only."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._options = connection, connection._socks_options
        self.host, self.port = self._options["proxy_host"], int(self._options["proxy_port"])

    def open(self, address: str, open_socket: Callable[[], Any]) -> Any:
        """A socket through this address of the proxy."""
        self._connection._socks_options = {**self._options, "proxy_host": address}
        late = "the SOCKS proxy did not connect in time"
        try:
            return done_within(self._connection.timeout, open_socket, late=late, on_late=lambda made: made.close())
        finally:
            self._connection._socks_options = self._options


def _opened(connection: Any, route: _Route, open_socket: Callable[[], Any], resolve: Resolve) -> Any:
    """A socket by the first address of the route that answers; all share the time that is left."""
    request = _of_thread.request
    ends_s = time.monotonic() + request.time_left_s()
    try:
        addresses = looked_up(resolve, route.host, route.port, within_s=request.time_left_s())
    except socket.gaierror as error:
        raise NameResolutionError(route.host, connection, error) from error
    for left in range(len(addresses), 0, -1):
        connection.timeout = max(ends_s - time.monotonic(), _TOLERANCE_S) / left
        try:
            opened = route.open(addresses[-left], open_socket)
            connection.timeout = max(ends_s - time.monotonic(), _TOLERANCE_S)  # for TLS, too
            opened.settimeout(connection.timeout)
            return opened
        except (HTTPError, TimeoutError):
            if left == 1:
                raise
    raise OSError("the host has no address")


def _bounded(pool_class: Any, route: type[_Route], resolve: Resolve) -> Any:
    """A pool class like this one, whose connections keep the deadline of the thread's request."""

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        sock: Any
        has_responded = False
        raw_response: HTTPResponse | None = None

        @property
        def is_connected(self) -> bool:
            # The socket is not looked at where the request can be sent again: it shows whether it is closed.
            return self.sock is not None if _of_thread.request.is_repeatable else super().is_connected

        def connect(self) -> None:
            self.has_responded = False
            super().connect()
            if type(self.sock) is socket.socket:
                timeout_s = self.sock.gettimeout()
                self.sock = _SteadySocket(fileno=self.sock.detach())
                self.sock.settimeout(timeout_s)

        def _new_conn(self) -> Any:
            return _opened(self, route(self), super()._new_conn, resolve)

        def request(self, *arguments: Any, **options: Any) -> None:
            _of_thread.request.reuses_connection = self.has_responded
            super().request(*arguments, **options)

        def response_class(self, sock: Any, **options: Any) -> HTTPResponse:
            self.raw_response = HTTPResponse(_BoundedSocket(sock, _of_thread.request), **options)  # type: ignore[arg-type]
            return self.raw_response

        def getresponse(self) -> Any:
            try:
                response = super().getresponse()
            except BaseException:
                # urllib3 refuses headers without closing what it read them from, which would keep the socket open.
                if self.raw_response:
                    self.raw_response.close()
                raise
            finally:
                self.raw_response = None
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
    context = ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    context.sslsocket_class = _SteadyTlsSocket
    return context
