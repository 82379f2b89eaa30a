"""Addresses to listen at: whether one is free, what a person calls it, whether it answers.

Belongs here: hosts and ports. Does not belong here: who listens (`up`, `cli_services`).
"""

import ipaddress
import socket
import sys
from dataclasses import dataclass

from market_data_pipeline.core.errors import UsageError

_ANSWER_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, and the option that changes the port."""

    host: str
    port: int
    option: str = "--port"

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def answers(self) -> bool:
        """Whether someone accepts connections there."""
        host = self.url.removeprefix("http://").rpartition(":")[0].strip("[]")
        try:
            socket.create_connection((host, self.port), timeout=_ANSWER_WITHIN_S).close()
        except OSError:
            return False
        return True

    def refuse_if_taken(self) -> None:
        """Do nothing if one could listen there.

        Raises:
            UsageError: someone else listens there, or there is no such host.
        """
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                # What was closed a moment ago is free, except on Windows, where this option would share what is not.
                if sys.platform != "win32":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(
                f"cannot listen at {self.host}, port {self.port}: {why}; name another with {self.option} or --host"
            ) from None


def free_port() -> int:
    """A port of this machine that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
