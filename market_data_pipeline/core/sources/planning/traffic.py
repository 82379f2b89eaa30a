"""What was sent and received: the number of requests, and the bytes of the responses' bodies.

Belongs here: the value and its sums. Does not belong here: who counts (`sources.transport`), request weight
(`sources.governor`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that were answered, and the bytes of the bodies as they were sent, which may be compressed."""

    requests: int = 0
    received_bytes: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        """Both together."""
        return Traffic(self.requests + other.requests, self.received_bytes + other.received_bytes)

    def __sub__(self, earlier: "Traffic") -> "Traffic":
        """What came since then."""
        return Traffic(self.requests - earlier.requests, self.received_bytes - earlier.received_bytes)
