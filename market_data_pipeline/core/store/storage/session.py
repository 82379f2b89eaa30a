"""That a process goes on, where no operating system tells others: an object that it renews while it has any right.

Belongs here: beginning, renewing and ending a session, and whether that of another process has ended. Does not belong
here: the rights themselves (`lease`).

Whether a session has run out is decided by the clock of the object store, so hosts need not agree on the time. Who
finds that ends it, on the condition that it was not renewed meanwhile. So a process that slept finds its session as it
was, with all its rights, or ended for good.
"""

import os
import re
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from market_data_pipeline.core.store.storage.objects import Objects, ObjectVersion
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import ANY, Changed

_FOLDER, _CLOCK = ".sessions", ".clock"
_NAME = re.compile(r"[0-9a-f]{32}")
FREE = b""
"""The content of the object of a right that nobody has."""
# The object store's times are in whole seconds.
_MARGIN_S = 3.0
# Its clock and that of a process do not drift apart by much in this time.
_CLOCK_KEPT_S = 5.0


def awake_s() -> float:
    """Seconds of which none is missing, though this machine slept: only one of its clocks may have gone on."""
    return max(time.monotonic() - _STARTED[0], time.time() - _STARTED[1])


_STARTED = time.monotonic(), time.time()


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a session lasts without being renewed, how often it is renewed, and the clock of its process."""

    lasts_s: float = 60.0
    renewed_every_s: float = 15.0
    now_s: Callable[[], float] = awake_s


ENDS_WITHIN_S = Terms().lasts_s + 2 * _MARGIN_S
"""So long after a process was killed others find that its session has ended."""


class Session:
    """The session of this process below one root. Threads may share it."""

    def __init__(self, objects: Objects, terms: Terms) -> None:
        """Send no request yet."""
        self.name = uuid.uuid4().hex
        self.pid = os.getpid()
        self.rights = 0
        """How many rights depend on it; kept by `Sessions`."""
        self._objects, self._terms = objects, terms
        self._path = _path_of(objects, self.name)
        self._version: ObjectVersion | None = None
        self._renewed_s = self._until_s = -float("inf")
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._left: list[tuple[BucketPath, bytes]] = []

    @property
    def goes_on(self) -> bool:
        """True while no other process can believe that it has ended."""
        # A clock that was ahead and is set back must not add what it was ahead.
        return not self._ended.is_set() and self._renewed_s <= self._terms.now_s() < self._until_s

    @property
    def has_ended(self) -> bool:
        """True once another process has ended it, or this one."""
        return self._ended.is_set()

    def begin(self) -> None:
        """Write the object, and renew it from now on in a thread.

        Raises:
            OSError: it cannot be written.
        """
        self.renew()
        threading.Thread(target=self._keep, name="session", daemon=True).start()

    def renew(self) -> None:
        """Renew it, unless another process has ended it.

        Raises:
            OSError: the object store does not answer; it may still be renewed in a moment.
        """
        with self._renewing:
            began_s = self._terms.now_s()
            try:
                # Another content each time, as an equal one would have an equal version.
                self._version = self._objects.write(self._path, uuid.uuid4().hex.encode(), self._version)
            except (Changed, FileNotFoundError):
                self._ended.set()
            else:
                self._renewed_s, self._until_s = began_s, began_s + self._terms.lasts_s - _MARGIN_S

    def end(self) -> None:
        """Remove the object: whatever depends on it is free."""
        with self._renewing:
            self._ended.set()
            self._objects.delete(self._path)

    def release_later(self, path: BucketPath, content: bytes) -> None:
        """Free a right that has this content and no holder, once the object store answers: others see it as held."""
        self._left.append((path, content))

    def _keep(self) -> None:
        while not self._ended.wait(self._terms.renewed_every_s):
            # What cannot be renewed now may be in a moment.
            with suppress(OSError):
                self.renew()
                self._release_left()

    def _release_left(self) -> None:
        while self._left and not self._ended.is_set():
            path, content = self._left[0]
            with suppress(Changed, FileNotFoundError):  # it is another one's
                found = self._objects.get(path)
                if found.content() == content:
                    self._objects.write(path, FREE, found.version)
            del self._left[0]


class Sessions:
    """The sessions below one root: that of this process, which lasts as long as any right needs it, and others."""

    def __init__(self, objects: Objects, terms: Terms | None = None) -> None:
        """Send no request yet."""
        self._objects, self._terms = objects, terms or Terms()
        self._lock = threading.Lock()
        self._mine: Session | None = None
        self._clock: tuple[float, int] | None = None

    def join(self) -> Session:
        """The session of this process, begun if there is none, for one more right.

        Raises:
            OSError: the object store does not answer.
        """
        with self._lock:
            if self._mine is None or self._mine.has_ended or self._mine.pid != os.getpid():
                begun = Session(self._objects, self._terms)
                begun.begin()
                self._mine = begun
            self._mine.rights += 1
            return self._mine

    def leave(self, session: Session) -> None:
        """End the session if no other right needs it."""
        with self._lock:
            session.rights -= 1
            if session.rights == 0:
                if self._mine is session:
                    self._mine = None
                session.end()

    def has_run_out(self, name: str) -> bool:
        """True if there is no session of this name, or if its process does not renew it any more."""
        return self._run_out(name, self._told_or_own_ns)[0]

    def end_if_run_out(self, name: str) -> bool:
        """As `has_run_out`; its process cannot renew it any more if that is so."""
        has_run_out, version = self._run_out(name, self._told_ns)
        if has_run_out and version is not None:
            path = _path_of(self._objects, name)
            try:
                self._objects.write(path, b"", version)
            except Changed:
                return False
            self._objects.delete(path)
        return has_run_out

    def _run_out(self, name: str, now_ns: Callable[[], int]) -> tuple[bool, ObjectVersion | None]:
        if not _NAME.fullmatch(name):
            return True, None
        try:
            version = self._objects.version(_path_of(self._objects, name))
        except FileNotFoundError:
            return True, None
        age_ns = now_ns() - version.modified_ns
        return age_ns > (self._terms.lasts_s + _MARGIN_S) * 1e9, version

    def _told_or_own_ns(self) -> int:
        """As `_told_ns`; by the clock of this machine if this process may only read."""
        try:
            return self._told_ns()
        except PermissionError:
            return time.time_ns()

    def _told_ns(self) -> int:
        """The time by the clock of the object store, or a little earlier: the time of an object just written."""
        known, now_s = self._clock, self._terms.now_s()
        if known is None or not 0 <= now_s - known[0] <= _CLOCK_KEPT_S:
            clock = BucketPath(self._objects.root, _CLOCK)
            self._objects.put(clock, b"", ANY)
            told_ns = self._objects.version(clock).modified_ns
            now_s = self._terms.now_s()
            self._clock = known = now_s, told_ns
        return known[1] + int((now_s - known[0]) * 1e9)


def _path_of(objects: Objects, name: str) -> BucketPath:
    return BucketPath(objects.root, f"{_FOLDER}/{name}")
