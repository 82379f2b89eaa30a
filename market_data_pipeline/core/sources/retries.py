"""Requests that are sent again: logged, and counted by kind.

Belongs here: the kind of a fault. Does not belong here: what a fault is, and how often it is tried (`rest`, `archive`).
"""

import logging
from collections.abc import Callable

from tenacity import RetryCallState, before_sleep_log

from market_data_pipeline.core.counting.counts import RETRIES
from market_data_pipeline.core.sources.transport import NoResponse


def noted(log: logging.Logger, source: str) -> Callable[[RetryCallState], None]:
    """What tenacity is to call before a request is sent again; `source` is `rest` or `archive`."""
    write = before_sleep_log(log, logging.WARNING)

    def note(state: RetryCallState) -> None:
        write(state)
        fault = state.outcome.exception() if state.outcome else None
        is_silent = isinstance(fault.__cause__ if fault else None, NoResponse)
        RETRIES.add(source, "no_response" if is_silent else getattr(fault, "kind", "fault"))

    return note
