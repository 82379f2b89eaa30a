"""Writing JSON lines: where to, from which threads, how often.

Belongs here: the stream, and events that are told at most once a second. Does not belong here: which events there are
(the other modules).
"""

import json
import os
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO

from market_data_pipeline.cli.console import failed_line, talk

_EVERY_S = 1.0


class Lines:
    """JSON lines on stdout. Threads may share it.

    They go to a copy of stdout, because Dagster redirects stdout itself into the log of the step that runs.
    """

    def __init__(self) -> None:
        """Write nothing yet."""
        self._lock = threading.Lock()
        self._told_s = time.monotonic()
        try:
            copy = os.dup(sys.stdout.fileno())
        except (OSError, ValueError, AttributeError):
            self._copy: TextIO | None = None
        else:
            sys.stdout.flush()
            self._copy = os.fdopen(copy, "w", encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tell(self, event: str, **values: Any) -> None:
        """Write an event; values that are None are left out."""
        told = {"event": event, **{name: value for name, value in values.items() if value is not None}}
        with self._lock:
            print(json.dumps(told), file=self._copy or sys.stdout, flush=True)  # noqa: T201

    def tell_if_due(self, event: str, **values: Any) -> None:
        """As `tell`, at most once a second."""
        if self.is_due:
            self.tell(event, **values)

    @property
    def is_due(self) -> bool:
        """True once a second, for events that would be too many."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._told_s < _EVERY_S:
                return False
            self._told_s = now_s
            return True

    def stop(self) -> None:
        """Close the copy; nothing is written afterwards."""
        if self._copy:
            self._copy.close()


def tell_failed(name: str, problem: str, *, as_json: bool) -> None:
    """Tell of a dataset, one of several, that failed: as a JSON line, or on stderr for people."""
    if not as_json:
        talk.print(failed_line(name, problem))
        return
    with Lines() as lines:
        lines.tell("failed", dataset=name, error=problem)
