"""Responses that do not reach the client whole.

Belongs here: closing connections, sending half a response, sending bytes as they are.
Does not belong here: what a response says (`exchange`), when this happens (`faults`), the server (`server`).
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# What waits to be sent is not more than this, however fast it is made.
_MOST_WAITING_BYTES = 1 << 18
_LOOK_S = 0.02


class Connections:
    """The open transports by client address. The server adds and removes them."""

    def __init__(self) -> None:
        """Start with none."""
        self._behind_server = False
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}

    def opened(self, transport: asyncio.Transport) -> None:
        """Add a new connection."""
        self._behind_server = True
        self._transports[_address(transport.get_extra_info("peername"))] = transport

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Remove a closed connection."""
        self._transports.pop(_address(transport.get_extra_info("peername")), None)

    async def drop(self, scope: Scope, receive: Receive) -> None:
        """Close the client's connection after what was written is sent, and return when it is closed."""
        if transport := self._transport(scope):
            transport.close()
        await _disconnected(receive)

    async def send_raw(
        self, scope: Scope, receive: Receive, pieces: Iterator[bytes | float], is_over: Callable[[], bool]
    ) -> int:
        """Send bytes as they are, with pauses (seconds) between them, until the client hangs up or it is over.

        Close the connection then, and return the number of bytes sent.
        """
        sent = 0
        if transport := self._transport(scope):

            def ended() -> bool:
                return transport.is_closing() or is_over()

            for piece in pieces:
                if isinstance(piece, bytes):
                    transport.write(piece)
                    sent += len(piece)
                    await _until(lambda: ended() or transport.get_write_buffer_size() < _MOST_WAITING_BYTES)
                else:
                    await _until(ended, piece)
                if ended():
                    break
            if is_over():
                transport.abort()  # a client that does not read would keep the rest, and the server, waiting
            transport.close()
        await _disconnected(receive)
        return sent

    def _transport(self, scope: Scope) -> asyncio.Transport | None:
        """Return the client's transport, None if the client has hung up."""
        if not self._behind_server:
            raise ConnectionResetError("the simulated exchange drops connections only behind its own server")
        return self._transports.get(_address(scope["client"]))


async def deliver_half(response: Response, send: Send) -> int:
    """Send the headers of the whole response and half of its body; return the number of body bytes sent."""
    half = bytes(response.body)[: len(response.body) // 2]
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": half, "more_body": True})
    return len(half)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _until(true: Callable[[], bool], seconds: float = float("inf")) -> None:
    """Wait until it is true, or for so many seconds; give others their turn in any case."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    await asyncio.sleep(0)
    while not true() and (left := until - loop.time()) > 0:
        await asyncio.sleep(min(_LOOK_S, left))


def _address(peer: Any) -> tuple[str, int]:
    return str(peer[0]), int(peer[1])
