"""What every measured script prints about itself, as one JSON line on stdout.

Belongs here: the stopwatch and the peak of memory, on every operating system. Does not belong here: any work.
Nothing heavy is imported, so that a script's peak is its own.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


class Stopwatch:
    """Wall and CPU time of the work; made after the imports, so that they are left out."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        self._measured: dict[str, float] | None = None

    def stop(self) -> None:
        """End the measurement: what follows until the report is not counted."""
        self._measured = {
            "seconds_of_work": time.perf_counter() - self._wall_s,
            "cpu_seconds_of_work": time.process_time() - self._cpu_s,
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def report(self, **facts: Any) -> None:
        """Print the facts with the time since the start and the process's peak of memory."""
        if self._measured is None:
            self.stop()
        measured = self._measured or {}
        sys.stdout.write(json.dumps({**facts, **measured}) + "\n")


def peak_rss_bytes() -> int:
    """The most memory that this process held at any time."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":
        # Not ru_maxrss: on Linux it starts with what the process that forked this one held.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
