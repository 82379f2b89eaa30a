"""A right that one process at a time has, where there are no locks: an object that names the session of its holder.

Belongs here: taking, keeping and losing it. Does not belong here: whether the holder goes on (`session`), what the
right protects (`note_lock`, `journal`).

All rights of a process are renewed by one request, that of its session. A process whose session another one has ended
has lost all its rights at once, and may take again those that are free. What is written depends on no right: a holder
that slept replaces only what nobody else has replaced meanwhile.
"""

import time
import uuid

from market_data_pipeline.core.store.storage.objects import Objects, ObjectVersion
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import ANY, Changed, Expected, again_if_changed
from market_data_pipeline.core.store.storage.session import FREE, Session, Sessions

_POLL_S = 1.0


class Lease:
    """`Hold` by an object with the name of its holder's session; empty, or not there, if nobody has the right."""

    def __init__(self, objects: Objects, sessions: Sessions, path: BucketPath, *, is_own: bool = False) -> None:
        """Send no request yet; for `is_own` see `Storage.hold`."""
        self._objects, self._sessions, self._path, self._is_own = objects, sessions, path, is_own
        self._session: Session | None = None
        self._version: ObjectVersion | None = None
        self._content = FREE

    @property
    def is_mine(self) -> bool:
        """See `Hold.is_mine`."""
        return self._session is not None and self._session.goes_on

    def acquire(self, *, within_s: float = 0) -> bool:
        """See `Hold.acquire`."""
        latest_s = time.monotonic() + within_s
        while not self._kept() and not self._take():
            if time.monotonic() >= latest_s:
                return False
            time.sleep(min(_POLL_S, max(0.0, latest_s - time.monotonic())))
        return True

    def release(self) -> None:
        """See `Hold.release`."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            if self._is_own:
                self._objects.delete(self._path)
            elif not session.has_ended:
                # Also after a pause in which nobody has ended it: only what is still as this process left it.
                self._objects.write(self._path, FREE, self._version)
        except Changed:
            pass  # it was not this process's any more
        except OSError:
            session.release_later(self._path, self._content)
            raise
        finally:
            self._sessions.leave(session)

    def _kept(self) -> bool:
        """True if this object has the right, also after a pause in which nobody else wanted it."""
        if self._session is None:
            return False
        if not self._session.goes_on and not self._session.has_ended:
            self._session.renew()
        if self._session.goes_on:
            return True
        self.release()
        return False

    def _look(self) -> tuple[Expected, bytes]:
        try:
            found = self._objects.get(self._path)
        except FileNotFoundError:
            return None, FREE
        return found.version, found.content()

    @again_if_changed
    def _take(self) -> bool:
        """Whether the right was free; looked at again if it changes hands meanwhile, as it may be free then."""
        # Of a name that nobody else knows there can only be what an earlier try of this very write has left.
        found, holder = (ANY, FREE) if self._is_own else self._look()
        if holder != FREE and not self._sessions.end_if_run_out(_name(holder)):
            return False
        session = self._sessions.join()
        try:
            # With a text of its own: if two of this process write at once, each can tell its write from the other's.
            self._content = f"{session.name} {uuid.uuid4().hex}".encode()
            self._version = self._objects.write(self._path, self._content, found)
        except BaseException as error:
            if not isinstance(error, Changed):
                session.release_later(self._path, self._content)  # it may have been written
            self._sessions.leave(session)
            raise
        self._session = session
        return True


def is_held(objects: Objects, sessions: Sessions, path: BucketPath) -> bool:
    """Whether the right of this name has a process that goes on."""
    try:
        holder = objects.get(path).content()
    except FileNotFoundError:
        return False
    return holder != FREE and not sessions.has_run_out(_name(holder))


def _name(holder: bytes) -> str:
    return holder.decode("ascii", errors="replace").partition(" ")[0]
