"""Work that waits: some of it is begun before its turn has come.

Belongs here: results in order from threads. Does not belong here: what the work is, how much of it is worth beginning
at once (`Storage.most_at_once`).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


def in_order(work: Callable[[A], T], on: Iterable[A], *, threads: int, ahead: int | None = None) -> Generator[T]:
    """What the work makes of each, in order.

    Args:
        work: called in a thread.
        on: what it is called with; taken one by one.
        threads: how many threads work; with one there is none but the caller's.
        ahead: so many are begun before the first result is waited for; as many as there are threads if None.
    """
    if threads == 1:
        yield from map(work, on)
        return
    left = iter(on)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        begun = deque(pool.submit(work, each) for each in islice(left, ahead or threads))
        try:
            while begun:
                first = begun.popleft()
                begun.extend(pool.submit(work, each) for each in islice(left, 1))
                yield first.result()
        finally:
            for each in begun:
                each.cancel()
