"""Places for a data root, in which the same tests of the store run: a folder, and buckets of object stores.

Belongs here: for each place a root that is empty, with paths that a test can read and write like those of a folder.
Does not belong here: the servers (`servers`), what is tested.
"""

import fnmatch
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.servers import BUCKET, KEY, SECRET

_MOST_BYTES = 1 << 30


class ReadablePath(BucketPath):
    """A path in a bucket with those methods of `pathlib.Path` that tests of the store use."""

    def exists(self) -> bool:
        return storage_of(self).exists(self)

    def is_file(self) -> bool:
        return storage_of(self).is_file(self)

    def read_bytes(self) -> bytes:
        return storage_of(self).read(self, _MOST_BYTES)

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        storage_of(self).write(self, content)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        self.write_bytes(text.encode(encoding))

    def unlink(self, *, missing_ok: bool = False) -> None:
        if not missing_ok:
            self.read_bytes()
        storage_of(self).remove(self)

    def rename(self, target: Self) -> None:
        storage_of(self).move(self, target)

    replace = rename

    def mkdir(self, **_: Any) -> None:
        """Do nothing: a bucket has no folders."""

    def iterdir(self) -> Iterator[Self]:
        return (self / name for name in storage_of(self).names(self))

    def glob(self, pattern: str) -> Iterator[Self]:
        """Those below this path that the pattern matches; only `*`, and `**/` in front, are known."""
        is_deep, plain = pattern.startswith("**/"), pattern.removeprefix("**/")
        for path in self._files():
            relative = path.key.removeprefix(f"{self.key}/")
            tail = relative.rpartition("/")[2] if is_deep else relative
            if tail.count("/") == plain.count("/") and fnmatch.fnmatchcase(tail, plain):
                yield path

    def _files(self) -> Iterator[Self]:
        for path in self.iterdir():
            if path.is_file():
                yield path
            yield from path._files()


def in_memory() -> ReadablePath:
    """An empty root in the memory of this process."""
    return ReadablePath(f"memory:///{uuid.uuid4().hex}")


def in_bucket() -> ReadablePath:
    """An empty root in the bucket of the server that the environment names."""
    return ReadablePath(f"s3://{BUCKET}/{uuid.uuid4().hex}")


def root_of(address: str) -> Any:
    """The root with this address, in another process."""
    return ReadablePath(address) if "://" in address else Path(address)


def environment_of(url: str) -> dict[str, str]:
    """The variables that a program needs for the server of objects at this address."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }
