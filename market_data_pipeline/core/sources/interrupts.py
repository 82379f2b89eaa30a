"""An interrupt, as by Ctrl-C, of a thread that waits for requests of its other threads.

Belongs here: hearing it, and ending their waits, too. Does not belong here: how a source ends them (`rest.client`),
signals.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

LONGEST_DEAF_S = 0.2
"""How long a thread may wait without hearing Ctrl-C. Windows delivers none during a wait for another thread."""

T = TypeVar("T")


@contextmanager
def ended_if_interrupted(end: Callable[[], object]) -> Iterator[None]:
    """Call `end` if the block is interrupted, before anybody waits for the threads that it has started.

    An exchange that is silent would let them wait for minutes.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        end()
        raise


def await_end(future: Future[Any]) -> None:
    """Wait until a future has a result, an error, or was cancelled. An interrupt is heard, on Windows too."""
    while not future.done():
        with suppress(TimeoutError, CancelledError):
            future.exception(LONGEST_DEAF_S)


def result_of(future: Future[T]) -> T:
    """The result of a future, or what it raises, once there is one; see `await_end`."""
    await_end(future)
    return future.result()
