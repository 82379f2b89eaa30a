"""What Dagster prints on stderr while a run of this process goes on.

Belongs here: holding it back, and dropping it where the error that follows says the same. Does not belong here: the
error in one line (`runs`), the log lines of this package (`logs`).
"""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from market_data_pipeline.instance.events.batches import REFUSALS

_lock = threading.Lock()


class _Nowhere(io.TextIOBase):
    """The stderr of a program that has none, such as one without a console on Windows."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)


class _ByThread(io.TextIOBase):
    """A stderr that holds back what some threads write, and passes the rest on.

    It has no file number: Dagster would redirect it, and with it the lines of all threads, into the log of a step.
    """

    def __init__(self, replaced: Any) -> None:
        self.replaced = replaced
        self.passed_to = _Nowhere() if replaced is None else replaced
        self.held: dict[int, io.StringIO] = {}

    def write(self, text: str) -> int:
        written: int = self._of_thread().write(text)
        return written

    def flush(self) -> None:
        self._of_thread().flush()

    def isatty(self) -> bool:
        return bool(self._of_thread().isatty())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self.passed_to.encoding)

    def __getattr__(self, name: str) -> Any:
        """What else it has, such as rich's `rich_proxied_file` while a table of rich is shown."""
        return getattr(self.passed_to, name)

    def _of_thread(self) -> Any:
        return self.held.get(threading.get_ident(), self.passed_to)


@contextmanager
def held_unless_refused() -> Iterator[None]:
    """Hold back what this thread writes to stderr in the block, and drop it if a refusal of the database ends that.

    Dagster prints each refusal with its SQL before it raises it. Other threads write as ever.
    """
    thread, said = threading.get_ident(), io.StringIO()
    with _lock:
        stderr = sys.stderr if isinstance(sys.stderr, _ByThread) else _ByThread(sys.stderr)
        sys.stderr = stderr
        stderr.held[thread] = said
    try:
        yield
    except REFUSALS:
        said = io.StringIO()
        raise
    finally:
        with _lock:
            del stderr.held[thread]
            if not stderr.held and sys.stderr is stderr:
                sys.stderr = stderr.replaced
        stderr.write(said.getvalue())
