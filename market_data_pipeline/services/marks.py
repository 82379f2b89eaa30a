"""A mark in the environment of every process that an `up` starts, by which they are all found.

Belongs here: the mark, and ending the processes that carry it. Does not belong here: starting processes (`process`).
A process inherits the mark, so that what a service started is found even when the service is gone.
"""

from collections.abc import Iterator
from contextlib import suppress

import psutil

MARK = "MARKET_DATA_SERVICE_OF"
"""The environment variable; its value is the Dagster home of the `up` that started the process."""


def end_marked(value: str, within_s: float) -> int:
    """End every process whose mark has this value, and return how many there were.

    Processes that still run after `within_s` seconds are killed.
    """
    processes = list(_marked(value))
    for process in processes:
        with suppress(psutil.Error, OSError):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    for process in alive:
        with suppress(psutil.Error, OSError):
            process.kill()
    psutil.wait_procs(alive, timeout=within_s)
    return len(processes)


def _marked(value: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        # The environment of other users' processes cannot be read.
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == value:
                yield process
