"""Files by HTTP, each thread over a connection of its own that stays open.

Belongs here: connections, certificates, timeouts. Does not belong here: what is downloaded, how often it is tried
(`archive`).
The standard library's client, as at a hundred files a second the bookkeeping of a connection pool is felt.
"""

import socket
import ssl
import threading
from contextlib import suppress
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

import certifi

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
                return _answer(connection, path)
            except ConnectionError:
                if self._closed or not was_open:
                    raise
            # Nobody had used it for a while, so the other side closed it.
            return _answer(connection, path)

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
    def _trusted(self) -> ssl.SSLContext:
        # The certificates that REST is asked with too: not every Python finds those of its system.
        return ssl.create_default_context(cafile=certifi.where())

    def _own(self) -> tuple[HTTPConnection, threading.Lock]:
        """The connection of this thread, and the lock that is held while it is used."""
        if not hasattr(self._of_thread, "own"):
            self._of_thread.own = self._new_connection(), threading.Lock()
            self._opened.append(self._of_thread.own)
        own: tuple[HTTPConnection, threading.Lock] = self._of_thread.own
        return own

    def _new_connection(self) -> HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "https":
            return HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self._trusted)
        return HTTPConnection(host, port, timeout=_TIMEOUT_S)


def _answer(connection: HTTPConnection, path: str) -> tuple[int, bytes]:
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except BaseException:
        connection.close()
        raise
