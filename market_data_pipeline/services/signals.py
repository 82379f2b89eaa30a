"""The signals that ask a command to stop.

Belongs here: which signals these are on each operating system. Does not belong here: what a command does before it
ends (`up`, `cli.live_table`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Ctrl-C, `kill`, a closed terminal; Ctrl-Break on Windows. No operating system has all of them.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def set_on_stop(stopping: threading.Event) -> Iterator[None]:
    """Set the event when a signal to stop arrives during the block; a second signal raises KeyboardInterrupt.

    Works in the main thread only. The former handlers are back when the block has ended.
    """
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # An ignored signal stays ignored: `nohup` means that a closed terminal is no reason to stop. Ctrl-C is an
    # exception, because child processes would inherit it as ignored, and some of them then ignore SIGTERM too. So is
    # SIGTERM: where a script has started this in the background, Ctrl-C is ignored, and Dagster makes SIGTERM the same.
    always = signal.SIGINT, signal.SIGTERM
    handled = [number for number in numbers if number in always or before[number] != signal.SIG_IGN]

    def stop(*_: object) -> None:
        for number in handled:
            signal.signal(number, signal.default_int_handler)
        stopping.set()

    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextmanager
def ends_on_stop() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM or Ctrl-Break end the block only: for a server that sends the signal on at its end.

    Works in the main thread only.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
