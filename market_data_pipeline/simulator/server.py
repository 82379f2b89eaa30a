"""A simulated exchange as a server on real sockets.

Belongs here: sockets, threads, start and stop of the web server.
Does not belong here: any behaviour of the exchange (`exchange`).
"""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from market_data_pipeline.simulator.delivery import Connections
from market_data_pipeline.simulator.exchange import SimulatedExchange

_START_TIMEOUT_S, _END_TIMEOUT_S = 30, 10


@dataclass(frozen=True, slots=True)
class RunningExchange:
    """An exchange that listens at `url`."""

    url: str
    exchange: SimulatedExchange


@contextmanager
def serve(exchange: SimulatedExchange, port: int = 0, host: str = "127.0.0.1") -> Iterator[RunningExchange]:
    """Serve an exchange from a background thread while the block runs; port 0 takes a free port."""
    listener = _listen(host, port)
    ready = threading.Event()
    server = _Server(exchange, ready.set)
    thread = threading.Thread(target=server.run, args=([listener],), name="simulated-exchange", daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_TIMEOUT_S):
            raise TimeoutError(f"the simulated exchange did not start within {_START_TIMEOUT_S} s")
        yield RunningExchange(_url(listener), exchange)
    finally:
        exchange.closing = True
        server.should_exit = True
        thread.join(2 * _END_TIMEOUT_S)
        if thread.is_alive():
            # Seen once at the end of all tests, and not explained. The thread is a daemon, and ends with its process.
            server.force_exit = True
            thread.join(_END_TIMEOUT_S)
        exchange.closing = False
        listener.close()


def run(
    exchange: SimulatedExchange,
    host: str = "127.0.0.1",
    port: int = 9000,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve an exchange until Ctrl-C; `on_ready` is called with the URL once it listens."""
    with _listen(host, port) as listener:
        url = _url(listener)
        server = _Server(exchange, lambda: on_ready(url) if on_ready is not None else None)
        with suppress(KeyboardInterrupt):
            server.run([listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches off Nagle's algorithm, which delays small packets, only for sockets that name their protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # On Windows SO_REUSEADDR would let two servers share a port.
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        is_none = isinstance(error, OverflowError)
        why = "a port is a number from 0 to 65535" if is_none else getattr(error, "strerror", None) or error
        raise OSError(f"cannot listen on {host}:{port}: {why}; name another with --port or --host") from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A uvicorn without logs. It calls `on_listening` once it listens, and ends stalled requests when it stops."""

    def __init__(self, exchange: SimulatedExchange, on_listening: Callable[[], object]) -> None:
        config = uvicorn.Config(
            exchange,
            http=_tracking(exchange.connections),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            backlog=2048,
            timeout_keep_alive=75,
            # Python 3.13 waits for each connection, also for one that its client has forgotten.
            timeout_graceful_shutdown=_END_TIMEOUT_S,
        )
        super().__init__(config)
        self._exchange = exchange
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._exchange.closing = True
        await super().shutdown(sockets)


def _tracking(connections: Connections) -> type[asyncio.Protocol]:
    class TrackedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:
            connections.opened(transport)
            self.tracked = transport
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.closed(self.tracked)
            super().connection_lost(exc)

    return TrackedProtocol
