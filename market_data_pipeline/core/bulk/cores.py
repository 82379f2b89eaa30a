"""How many processes may load or prove datasets at once.

Belongs here: what bounds their number. Does not belong here: the processes (`workers`), how many datasets there are.

The cores of a machine are not those of a container: with a quota of two of 32 cores, 32 processes would wait for each
other, and a limit of memory ends them. So the limits of the control groups of this process count, too
(https://docs.kernel.org/admin-guide/cgroup-v2.html, and the files of version 1).
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# A process has 200 MB at its peak, with libraries that all share (docs/universe.md), and the one that starts them, too.
_BYTES_OF_ONE = 250_000_000
# `multiprocessing.connection.wait` takes no more on Windows, where it is one call of WaitForMultipleObjects.
_MOST_ON_WINDOWS = 60


def cores(system: Path = Path("/")) -> int:
    """How many processes can decode klines at once, with what memory there is.

    Args:
        system: where the system's folders `proc` and `sys` are.
    """
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if sys.platform == "win32":
        most = min(most, _MOST_ON_WINDOWS)
    return max(1, min([most, *_limits(system)]))


def _limits(system: Path) -> Iterator[int]:
    for folder in _groups(system):
        # A file that is not there, or says `max`, is no limit; -1 is none, either.
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield math.ceil(int(quota) / int(period))
        with suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                yield math.ceil(int(quota) / int(period))
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                yield int((folder / name).read_text()) // _BYTES_OF_ONE - 1


def _groups(system: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, and of those above them."""
    with suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            top = system / "sys/fs/cgroup" / controllers
            group = top / path.strip("/")
            yield group
            # In a container the path may be that of the host, and its own group is at the top.
            yield from (folder for folder in group.parents if folder.is_relative_to(top))
