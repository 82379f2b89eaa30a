"""A cache with a limit in bytes.

Belongs here: keeping the most recently used values, in a way that several threads can use.
Does not belong here: what is cached (`history`).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps the most recently used values, up to a number of bytes."""

    def __init__(self, limit_bytes: int, size: Callable[[Value], int]) -> None:
        """Set the limit, and the function that returns the size of a value in bytes."""
        self._limit_bytes = limit_bytes
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key; call `make` for it if it is not in the cache."""
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
