"""A cache bounded by bytes.

Belongs here: least-recently-used bookkeeping, safe for threads.
Does not belong here: what is cached (`history`, `archive`).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps what was used last, up to a number of bytes."""

    def __init__(self, limit_bytes: int, size: Callable[[Value], int]) -> None:
        """Set the bound and how to measure a value."""
        self._limit_bytes = limit_bytes
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made now if it is not held."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self._held_bytes += self._size(value)
            while self._held_bytes > self._limit_bytes and len(self._values) > 1:
                _, dropped = self._values.popitem(last=False)
                self._held_bytes -= self._size(dropped)
        return value
