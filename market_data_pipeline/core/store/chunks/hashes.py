"""The sha256 of a dataset's chunk files, computed once for each version of a file.

Belongs here: when a file must be hashed again. Does not belong here: what a hash is compared with (`listing`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from market_data_pipeline.core.store.atomic import sha256_of
from market_data_pipeline.core.store.chunks.encoding import MOST_CHUNK_BYTES
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath, Version


class _Hashed(NamedTuple):
    version: Version | None
    sha256: str
    # False: a change of the file that leaves its version alone may still have come after it was hashed.
    is_settled: bool


class ChunkHashes:
    """The hashes of chunk files by day. A file is hashed again once its version is another.

    A file of a folder that had been written less than 2 s before it was hashed is hashed again, too, until it is older.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Hashed] = {}

    def of(self, day: str, path: StorePath) -> str:
        """The sha256 of the day's file.

        Raises:
            OSError, ValueError: it cannot be read, or is no file.
        """
        known = self._known.get(day)
        if known is not None and known.is_settled and known.version == storage_of(path).version(path):
            return known.sha256
        return self.read(day, path)[1]

    def read(self, day: str, path: StorePath) -> tuple[bytes, str]:
        """The bytes of the day's file and their sha256.

        Raises:
            OSError, ValueError: it cannot be read, or is no file.
        """
        known = self._known.get(day)
        content, version = storage_of(path).read_version(path, MOST_CHUNK_BYTES)
        if known is not None and known.is_settled and version is not None and known.version == version:
            return content, known.sha256
        sha256 = sha256_of(content)
        self._known[day] = _Hashed(version, sha256, version is not None and version.is_settled)
        return content, sha256

    def note_written(self, day: str, version: Version | None, sha256: str) -> None:
        """Note the hash of a file that this process has just written; `of` may still hash it once when it is older."""
        self._known[day] = _Hashed(version, sha256, version is not None and version.is_settled)

    def unchanged(self, files: Sequence[tuple[str, StorePath, str]]) -> set[str]:
        """Of days, paths and hashes the days whose file had this hash when it was noted last, and has not changed."""
        asked = [(day, path) for day, path, sha256 in files if self._is_known(day, sha256)]
        if not asked:
            return set()
        versions = storage_of(asked[0][1]).versions([path for _, path in asked])
        return {day for (day, _), version in zip(asked, versions, strict=True) if self._known[day].version == version}

    def _is_known(self, day: str, sha256: str) -> bool:
        known = self._known.get(day)
        return known is not None and known.version is not None and known.sha256 == sha256
