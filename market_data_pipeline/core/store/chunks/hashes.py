"""The sha256 of a dataset's chunk files, computed once for each version of a file.

Belongs here: when a file must be hashed again. Does not belong here: what a hash is compared with (`listing`).
"""

import time
from pathlib import Path
from typing import NamedTuple

from market_data_pipeline.core.store.atomic import FileStamp, read_file, sha256_of, stamp_of
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES

# Two changes within one tick of a file system's clock leave the same time; the coarsest clocks tick every 2 s.
_SETTLED_AFTER_NS = 2_000_000_000


class _Hashed(NamedTuple):
    stamp: FileStamp | None
    sha256: str
    # False: a change of the file that leaves its stamp alone may still have come after it was hashed.
    is_settled: bool


class ChunkHashes:
    """The hashes of chunk files by day. A file is hashed again once its time, size or inode changes.

    A file that had been written less than 2 s before it was hashed is hashed again, too, until it is older.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Hashed] = {}

    def of(self, day: str, path: Path) -> str:
        """The sha256 of the day's file.

        Raises:
            OSError, ValueError: it cannot be read, or is no file.
        """
        known = self._known.get(day)
        if known is not None and known.is_settled and known.stamp == stamp_of(path):
            return known.sha256
        return self.read(day, path)[1]

    def read(self, day: str, path: Path) -> tuple[bytes, str]:
        """The bytes of the day's file and their sha256.

        Raises:
            OSError, ValueError: it cannot be read, or is no file.
        """
        known, stamp = self._known.get(day), stamp_of(path)
        content = read_file(path, MOST_CHUNK_BYTES)
        if known is not None and known.is_settled and known.stamp == stamp == stamp_of(path):
            return content, known.sha256
        sha256 = sha256_of(content)
        is_settled = stamp is not None and time.time_ns() - stamp.modified_ns > _SETTLED_AFTER_NS
        self._known[day] = _Hashed(stamp, sha256, is_settled)
        return content, sha256

    def note_written(self, day: str, path: Path, sha256: str) -> None:
        """Note the hash of a file that this process has just written; `of` still hashes it once when it is older."""
        self._known[day] = _Hashed(stamp_of(path), sha256, is_settled=False)

    def is_unchanged(self, day: str, path: Path, sha256: str) -> bool:
        """True if this was the file's hash when it was hashed or noted last, and its stamp is still that of then."""
        known = self._known.get(day)
        if known is None or known.stamp is None or known.sha256 != sha256:
            return False
        return known.stamp == stamp_of(path)
