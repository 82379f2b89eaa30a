"""Addresses to listen at: their URL, whether one is free, whether it accepts connections.

Belongs here: hosts and ports. Does not belong here: the servers that listen (`up`, `cli.service_commands`).
"""

import ipaddress
import socket
import sys
from dataclasses import dataclass

from market_data_pipeline.core.errors import UsageError

_ANSWER_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; `option` is the command line's option for the port, for error messages."""

    host: str
    port: int
    option: str = "--port"

    @property
    def url(self) -> str:
        """The URL by which it is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached from this machine only."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def accepts_connections(self) -> bool:
        """Whether a server accepts connections there."""
        host = self.url.removeprefix("http://").rpartition(":")[0].strip("[]")
        try:
            socket.create_connection((host, self.port), timeout=_ANSWER_WITHIN_S).close()
        except OSError:
            return False
        return True

    def require_free(self) -> None:
        """Check that a server can listen there.

        Raises:
            UsageError: another process listens there, or there is no such host.
        """
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                # A port that was closed a moment ago counts as free. On Windows this option would share a port in use.
                if sys.platform != "win32":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(
                f"cannot listen at {self.host}, port {self.port}: {why}; name another with {self.option} or --host"
            ) from None


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
