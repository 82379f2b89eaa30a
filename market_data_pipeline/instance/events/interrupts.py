"""An interrupt waits until what is being written to a database of Dagster is there.

Belongs here: keeping signals back. Does not belong here: what an interrupt ends, which is Dagster's to say.

Who cancels a run, or presses Ctrl-C, interrupts the main thread wherever it is. In the middle of a statement that left
the transaction open: the database stayed locked for all processes, and the run could not even be noted as canceled.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep signals that would raise an error in the block until its end. Only the main thread ever gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        arrived.append(number)

    # What ends the process at once leaves no lock behind.
    before = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(arrived):
            signal.raise_signal(number)
