"""A budget in a file, which the processes of a user on a machine share.

Belongs here: where the file is, reading and changing it under a lock, and where the count is kept if no file can be
written. Does not belong here: how much may be spent, and when (`sources.governor`).
"""

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from market_data_pipeline.core.errors import BudgetUnavailable
from market_data_pipeline.core.sources.budgets.budget import Budget

_FILE_BYTES, _MOST_BYTES = 160, 4096
# A disk that was full and a process that had too many files open recover; others still share the best place then.
_AGAIN_S = 60
# The lock is held for a moment, but by a process that is stopped or hangs, or on a disk that does.
_TRY_S, _SAID_AFTER_S, _PATIENCE_S = 2.0, 5.0, 60.0
_log = logging.getLogger(__name__)


_ADAPTER = TypeAdapter(Budget)


class BudgetFile:
    """The budget of one host and market, shared with other processes through a file. Threads may share it.

    Until `open` the file is used only if it exists; else the budget is kept in this process. It is kept there, too, if
    no folder takes the file. After a minute in a worse place the best one is tried again.
    """

    patience_s = _PATIENCE_S
    """Of the lock alone: where no folder takes the file, this process keeps the budget."""

    def __init__(
        self,
        name: str,
        *,
        folders: Sequence[Path],
        lost: Callable[[], Budget],
        warn: Callable[[str], None],
        tell: Callable[[Path], str] = lambda path: "another process holds it",
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Write nothing yet.

        Args:
            name: the budget's name, see `budget_name`.
            folders: where the file belongs, the best place first; the next one is used where it cannot be written.
            lost: gives the budget to go on with where the file is damaged.
            warn: called with one line if a folder cannot be written.
            tell: tells a person which lock file has been waited for for seconds, and returns who holds it.
            clock_s: this machine's clock, in seconds.
        """
        self._all = [folder / f"{name}.json" for folder in folders]
        self._places = list(self._all)
        self._left_s, self._told = 0.0, set[Path]()
        self._lost, self._warn, self._tell, self._clock_s = lost, warn, tell, clock_s
        self._threads = threading.Lock()
        self._waits_since_s, self._holder = 0.0, ""
        self._own = Budget.unspent()
        # False where the folder may not be looked into, unlike Path.exists, which raises.
        self._is_open = bool(self._places) and os.path.exists(self._places[0])  # noqa: PTH110
        self._lock = _lock_of(self._places[0]) if self._is_open else None

    def open(self) -> None:
        """Create the file, with what was counted in this process so far."""
        self._is_open = True
        with suppress(BudgetUnavailable), self._one_thread():  # the next payment opens it, or says why it cannot
            self._enter()

    def look(self) -> Budget:
        """The budget as it is now. It takes no lock, as the file is written in one piece and not changed here."""
        budget = self._own
        if self._lock is not None:
            try:
                budget = self._read() or self._lost()
            except (OSError, IndexError):  # another thread may leave the last place just now
                budget = self._lost()
        return replace(budget, now_s=self._clock_s())

    @contextmanager
    def changing(self) -> Iterator[Budget]:
        """See `SharedBudget.changing`. It takes seconds where another process keeps the lock."""
        with self._one_thread():
            lock, budget, saved = self._begin()
            budget.now_s = self._clock_s()
            try:
                yield budget
                if lock is not None and budget != saved:
                    self._save(budget)
            finally:
                if lock is not None:
                    lock.release()

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Let one thread use the file.

        Raises:
            BudgetUnavailable: another thread does all the time, as it waits for the lock.
        """
        if not self._threads.acquire(timeout=_TRY_S):
            raise self._unavailable()
        try:
            yield
        finally:
            self._threads.release()

    def _take(self, lock: FileLock) -> AbstractContextManager[object]:
        """Take the lock, and release it at the end of a block.

        Raises:
            BudgetUnavailable: another process has it all the time.
        """
        try:
            taken = lock.acquire(timeout=_TRY_S)
        except Timeout:
            now_s = time.monotonic()
            self._waits_since_s = self._waits_since_s or now_s - _TRY_S
            if not self._holder and now_s - self._waits_since_s >= _SAID_AFTER_S:
                self._holder = self._tell(Path(lock.lock_file))
            raise self._unavailable() from None
        self._waits_since_s, self._holder = 0.0, ""
        return taken

    def _unavailable(self) -> BudgetUnavailable:
        path, holder = [*self._places, *self._all][0], self._holder or "another process holds it"
        return BudgetUnavailable(f"the request weight cannot be counted, as {path} is locked: {holder}")

    def _begin(self) -> tuple[FileLock | None, Budget, Budget | None]:
        """The lock, which is held, the budget, and what of it is on disk; no lock if the budget is kept here."""
        while True:
            if len(self._places) < len(self._all) and abs(self._clock_s() - self._left_s) >= _AGAIN_S:
                self._return()
            if self._lock is None and self._is_open:
                self._enter()
            if self._lock is None:
                return None, self._own, None
            lock = self._lock
            try:
                self._take(lock)
                read = self._read()
            except OSError as error:
                lock.release()
                self._leave(error)
            else:
                return lock, read or self._lost(), replace(read) if read else None

    def _enter(self) -> None:
        """Use the best place that takes the file, with what was counted in this process added."""
        while self._lock is None and self._places:
            path = self._places[0]
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._take(lock := _lock_of(path)):
                    budget, own = self._read() or self._lost(), self._own
                    if budget.minute < own.minute:
                        budget.minute, budget.used = own.minute, 0
                    budget.used += own.used
                    budget.closed_until_s = max(budget.closed_until_s, own.closed_until_s)
                    self._write(budget)
            except OSError as error:
                self._leave(error)
            else:
                self._lock, self._own = lock, Budget.unspent()

    def _return(self) -> None:
        """Leave the present place for the best one; until when no request may be sent is known there, too, then."""
        if self._lock is not None:
            with suppress(OSError):
                self._own.closed_until_s = (self._read() or self._lost()).closed_until_s
        self._places, self._lock = list(self._all), None

    def _leave(self, error: OSError) -> None:
        """Use the present place no more for a minute, and say why, the first time."""
        path, self._lock, self._left_s = self._places.pop(0), None, self._clock_s()
        if path in self._told:
            return
        self._told.add(path)
        instead = f"it is kept in {self._places[0].parent}" if self._places else "this process counts by itself"
        warning = f"the request weight cannot be kept in {path.parent} ({error.strerror or error}); {instead}"
        _log.warning("%s", warning)
        self._warn(warning)

    def _save(self, budget: Budget) -> None:
        try:
            self._write(budget)
        except OSError as error:
            self._own = budget
            self._leave(error)

    def _read(self) -> Budget | None:
        """The budget on disk; None if it is damaged."""
        try:
            with os.fdopen(_opened(self._places[0]), "rb") as file:
                return _ADAPTER.validate_json(file.read(_MOST_BYTES), strict=True)
        except FileNotFoundError:
            return Budget.unspent()
        except ValueError:
            return None

    def _write(self, budget: Budget) -> None:
        # One write of a fixed size, without truncating first: a process killed here leaves no empty file.
        content = _ADAPTER.dump_json(budget).ljust(_FILE_BYTES)
        file = os.open(self._places[0], os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        try:
            os.write(file, content)
            if os.fstat(file).st_size > _FILE_BYTES:
                os.ftruncate(file, _FILE_BYTES)
        finally:
            os.close(file)


def _opened(path: Path) -> int:
    """The descriptor of a file that is open for reading.

    Raises:
        OSError: it cannot be opened, or is no file, such as a pipe, which is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no file", str(path))


def _lock_of(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"), thread_local=False)
