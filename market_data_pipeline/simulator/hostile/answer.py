"""An answer as it would be sent, before anything is done to it.

Belongs here: the value that the faults of this room change, and the head that comes before a body. Does not belong
here: any fault.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]
Pieces: TypeAlias = Iterator[bytes | float]
"""What is sent: bytes, and pauses in seconds between them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of an answer. The headers have neither the length of the body nor its encoding."""

    status: int
    headers: Headers
    body: bytes

    def with_body(self, body: bytes) -> "Answer":
        """Return this answer with another body."""
        return replace(self, body=body)

    def head(self, *more: str) -> bytes:
        """Return the status line and the headers, with further lines, to the blank line at their end."""
        lines = [f"HTTP/1.1 {self.status} Text", *(f"{name}: {value}" for name, value in self.headers), *more]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


Framing: TypeAlias = Callable[[Answer], Pieces]
"""Returns how an answer is sent."""
