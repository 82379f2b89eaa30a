"""Responses that do not reach the client whole.

Belongs here: closing connections, sending half a response.
Does not belong here: what a response says (`exchange`), when this happens (`faults`), the server (`server`).
"""

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Connections:
    """The open transports by client address. The server adds and removes them."""

    def __init__(self) -> None:
        """Start with none."""
        self._transports: dict[tuple[str, int], asyncio.BaseTransport] = {}

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """Add a new connection."""
        self._transports[_address(transport.get_extra_info("peername"))] = transport

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Remove a closed connection."""
        self._transports.pop(_address(transport.get_extra_info("peername")), None)

    async def drop(self, scope: Scope, receive: Receive) -> None:
        """Close the client's connection after what was written is sent, and return when it is closed."""
        transport = self._transports.get(_address(scope["client"]))
        if transport is None:
            raise ConnectionResetError("the simulated exchange drops connections only behind its own server")
        transport.close()
        while (await receive())["type"] != "http.disconnect":
            continue


async def deliver_half(response: Response, send: Send) -> int:
    """Send the headers of the whole response and half of its body; return the number of body bytes sent."""
    half = bytes(response.body)[: len(response.body) // 2]
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": half, "more_body": True})
    return len(half)


def _address(peer: Any) -> tuple[str, int]:
    return str(peer[0]), int(peer[1])
