"""An interrupt, as by Ctrl-C, of a thread that waits for requests of its other threads.

Belongs here: ending their waits, too. Does not belong here: how a source ends them (`rest.client`), signals.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
