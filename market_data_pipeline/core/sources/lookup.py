"""The IP addresses of a host, looked up within a time.

Belongs here: asking the system's resolver, and ending a wait that cannot be told to end. Does not belong here: which
address is tried, and for how long (`sources.connections`).
"""

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from urllib3.util.connection import allowed_gai_family

T = TypeVar("T")
Resolve = Callable[[str, int], Sequence[str]]
"""Gives the IP addresses of a host, which it gets with the port."""


def addresses_of(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order in which to try them.

    Raises:
        OSError: there is none.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def looked_up(resolve: Resolve, host: str, port: int, *, within_s: float) -> Sequence[str]:
    """What `resolve` gives, if it does so in time.

    Raises:
        OSError: there is no address, or none in time.
    """
    return done_within(
        within_s, lambda: resolve(host, port), late=f"the name {host} was not looked up in time", on_late=lambda _: None
    )


def done_within(within_s: float, call: Callable[[], T], *, late: str, on_late: Callable[[T], None]) -> T:
    """What the call returns or raises, if it does so in time.

    The system may wait for half a minute for a name server, and cannot be told to stop. So a thread of its own waits,
    which ends when the system does, and never holds up the end of the process.

    Args:
        within_s: how long to wait.
        call: what to do.
        late: the text of the error if it takes longer.
        on_late: gets what the call returns after that, in its thread.

    Raises:
        TimeoutError: it takes longer.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="bounded", daemon=True).start()
    try:
        return done.result(within_s)
    except FutureTimeout:
        if done.done():  # it has just ended, or has raised such an error itself
            return done.result()
        done.add_done_callback(lambda ended: None if ended.exception() else on_late(ended.result()))
        raise TimeoutError(late) from None
