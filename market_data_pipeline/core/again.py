"""Doing again what another process, or a moment, may have made fail.

Belongs here: when it is done again. Does not belong here: which errors may pass, which only its callers know; requests
to an exchange (`sources.retries`).
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def again(
    act: Callable[[], T],
    may_succeed: Callable[[BaseException], bool],
    *,
    within_s: float,
    pause_s: float,
    longest_pause_s: float,
    least_tries: int = 1,
) -> T:
    """What `act` returns. It is called again after some errors, at once and then after random, growing pauses.

    Args:
        act: what is done.
        may_succeed: whether an error may pass; it is called once for each error.
        within_s: it is not called again once this time has passed since the first call.
        pause_s: the most of the first pause.
        longest_pause_s: the most of each pause.
        least_tries: so often it is called however long that takes.

    Raises:
        Exception: the last one.
    """
    began_s = time.monotonic()
    try:
        return act()
    except Exception as error:
        left_s = within_s - (time.monotonic() - began_s)
        if not may_succeed(error) or (left_s <= 0 and least_tries < 2):
            raise
    # Most processes never need it, and it takes 10 ms to import.
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

    retrying = Retrying(
        retry=retry_if_exception(may_succeed),
        stop=stop_after_delay(max(left_s, 0)) & stop_after_attempt(least_tries - 1),
        wait=wait_random_exponential(pause_s, longest_pause_s),
        reraise=True,
    )
    return retrying(act)
