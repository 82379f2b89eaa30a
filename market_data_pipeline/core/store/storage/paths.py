"""The path of an object: its bucket and its key.

Belongs here: a path as a value, and its address. Does not belong here: what is at a path (`bucket`).
"""

from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class BucketPath:
    """An object, or the objects whose keys begin with this one and a slash.

    `root` is the address of the data root, such as `s3://bucket/prefix`, without credentials; `key` is relative to it,
    empty for the root itself. `is_hurried` is set on those of whom a reader does not wait long for an answer.
    """

    root: str
    key: str = ""
    is_hurried: bool = field(default=False, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return self.name.removesuffix(self.suffix)

    @property
    def suffix(self) -> str:
        """The ending of the last part, with its dot."""
        start, dot, ending = self.name.rpartition(".")
        return dot + ending if start and ending else ""

    @property
    def parent(self) -> Self:
        """The path without its last part; the root's is the root."""
        return type(self)(self.root, self.key.rpartition("/")[0], self.is_hurried)

    def with_name(self, name: str) -> Self:
        """The path beside this one."""
        return self.parent / name

    def __truediv__(self, name: str) -> Self:
        """The path below this one."""
        return type(self)(self.root, f"{self.key}/{name}".strip("/"), self.is_hurried)

    def __lt__(self, other: Self) -> bool:
        """By their parts, as paths of a folder."""
        return (self.root, self.key.split("/")) < (other.root, other.key.split("/"))

    def __str__(self) -> str:
        """The address, as people and other programs write it."""
        return f"{self.root}/{self.key}" if self.key else self.root
