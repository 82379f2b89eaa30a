"""Files by HTTP, each thread over a connection of its own that stays open.

Belongs here: connections, timeouts. Does not belong here: what is downloaded, how often it is tried (`archive`), which
proxy and certificates are wanted (`environment`).
The standard library's client, as at a hundred files a second the bookkeeping of a connection pool is felt.
"""

import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from http.client import HTTP_PORT, HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from market_data_pipeline.core.sources.proxies import Way, way_to

_TIMEOUT_S = 20


class Downloads:
    """What lies under one address. Threads may share it."""

    def __init__(self, address: str) -> None:
        """Nothing is connected yet; `address` has a scheme, a host, and a port if that is not the usual one."""
        self._address = urlsplit(address)
        self._of_thread = threading.local()
        self._opened: list[tuple[HTTPConnection, threading.Lock]] = []
        self._closed = False

    def get(self, path: str) -> tuple[int, bytes]:
        """The status and the content of the answer.

        Raises:
            OSError, HTTPException: there was none, or not all of it.
        """
        connection, busy = self._own()
        with busy:
            was_open = connection.sock is not None
            try:
                return self._answer(connection, path)
            except ConnectionError:
                if self._closed or not was_open:
                    raise
            # Nobody had used it for a while, so the other side closed it.
            return self._answer(connection, path)

    def close(self) -> None:
        """Close all connections; a thread that waits for an answer is told so at once."""
        self._closed = True
        for connection, busy in self._opened:
            # Wakes a thread that reads from it, and leaves it to that thread to let go.
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            with busy:
                connection.close()

    @cached_property
    def way(self) -> Way:
        """How the address is reached."""
        return way_to(self._address.geturl())

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        # Those that REST is asked with too: not every Python finds the certificates of its system.
        wanted = self.way.certificates or certifi.where()
        is_folder = Path(wanted).is_dir()
        return ssl.create_default_context(cafile=None if is_folder else wanted, capath=wanted if is_folder else None)

    def _own(self) -> tuple[HTTPConnection, threading.Lock]:
        """The connection of this thread, and the lock that is held while it is used."""
        if not hasattr(self._of_thread, "own"):
            self._of_thread.own = self._new_connection(), threading.Lock()
            self._opened.append(self._of_thread.own)
        own: tuple[HTTPConnection, threading.Lock] = self._of_thread.own
        return own

    def _new_connection(self) -> HTTPConnection:
        host, port, proxy = self._address.hostname or "", self._address.port, self.way.proxy
        to = urlsplit(proxy) if proxy else self._address
        if proxy and to.scheme != "http":
            raise OSError(f"the archive can be read through a proxy with an http address, not through {to.scheme}")
        if self._address.scheme != "https":
            return HTTPConnection(to.hostname or "", to.port, timeout=_TIMEOUT_S)
        connection = HTTPSConnection(
            to.hostname or "", to.port or (HTTP_PORT if proxy else None), timeout=_TIMEOUT_S, context=self._trusted
        )
        if proxy:
            connection.set_tunnel(host, port, dict(self.way.proxy_headers))
        return connection

    def _answer(self, connection: HTTPConnection, path: str) -> tuple[int, bytes]:
        headers: Mapping[str, str] = {}
        if self.way.proxy and self._address.scheme != "https":
            path, headers = f"http://{self._address.netloc}{path}", self.way.proxy_headers
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            connection.close()
            raise
