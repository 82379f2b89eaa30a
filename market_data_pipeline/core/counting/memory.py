"""Adding up in memory what this process counts, until someone takes it.

Belongs here: counters, timers, and the sums of this process. Does not belong here: which there are (`counts`), where
the sums go (`file`).

Labels have values of a small known set, such as markets and operations: never a pair, an address or a text of an error.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import ParamSpec, TypeAlias, TypeVar

Key: TypeAlias = tuple[str, ...]
"""The name of a series and the values of its labels, of a bucket also its upper bound."""

P = ParamSpec("P")
R = TypeVar("R")
_sums: dict[Key, float] = {}
_lock = threading.Lock()


def _add(*amounts: tuple[Key, float]) -> None:
    with _lock:
        for key, amount in amounts:
            _sums[key] = _sums.get(key, 0.0) + amount


def take() -> dict[Key, float]:
    """What was counted since the last call."""
    global _sums
    with _lock:
        taken, _sums = _sums, {}
    return taken


def give_back(taken: Mapping[Key, float]) -> None:
    """Count again what was taken and could not be kept."""
    _add(*taken.items())


def _forget() -> None:
    """In a forked process: what was counted before the fork is counted in the parent, whose lock may be held."""
    global _sums, _lock
    _sums, _lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that only grows, for each value of its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def add(self, *values: str, by: float = 1) -> None:
        """Add to the number of these values of the labels."""
        _add(((self.name, *values), by))


@dataclass(frozen=True)
class Timer:
    """How long something took, in seconds: how often it took at most so long (`bounds`), and the sum."""

    name: str
    help: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...] = ()

    @cached_property
    def limits(self) -> tuple[str, ...]:
        """The bounds as texts, with the one that is above all."""
        return (*map(str, self.bounds), "+Inf")

    def note(self, seconds: float, *values: str) -> None:
        """Count one that took so long."""
        limit = self.limits[bisect_left(self.bounds, seconds)]
        _add(((f"{self.name}_bucket", *values, limit), 1), ((f"{self.name}_sum", *values), seconds))

    def of(self, *values: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator that counts each call of a function, also one that raises an error."""

        def counted(function: Callable[P, R]) -> Callable[P, R]:
            @wraps(function)
            def call(*args: P.args, **options: P.kwargs) -> R:
                began_s = time.perf_counter()
                try:
                    return function(*args, **options)
                finally:
                    self.note(time.perf_counter() - began_s, *values)

            return call

        return counted
