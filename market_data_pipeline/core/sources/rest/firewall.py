"""Addresses whose firewall lets no request through (HTTP 403), as the sources of one process tell each other.

Belongs here: this memory. Does not belong here: how often a request is tried (`rest.tries`), refusals that the exchange
itself states (`rest.faults`).

A source waits some seconds to learn that it is shut out. In a load of many pairs each would wait for itself.
"""

import time

from market_data_pipeline.core.errors import ShutOut

_KEPT_S = 300.0


class Firewall:
    """The addresses of which no request was ever answered, and all were refused. Threads may share it."""

    def __init__(self) -> None:
        """Know of none."""
        self._since_s: dict[str, float] = {}

    def shut_out(self, address: str, *, is_lasting: bool) -> ShutOut:
        """The error of a request that was refused; other sources know it if it `is_lasting`."""
        if is_lasting:
            self._since_s[address] = time.monotonic()
        return _error(address)

    def refuse(self, address: str) -> None:
        """Refuse a request to an address that refused all requests of another source within the last minutes.

        Raises:
            ShutOut: it did.
        """
        since_s = self._since_s.get(address)
        if since_s is not None and time.monotonic() - since_s < _KEPT_S:
            raise _error(address)


FIREWALL = Firewall()
"""What this process knows."""


def _error(address: str) -> ShutOut:
    return ShutOut(f"the firewall of {address} refuses requests from this IP address (HTTP 403)")
