"""Limits of the system for a process: how many files and connections it may have open.

Belongs here: the limit, where the system has one. Does not belong here: request weight (`network`), disks (`places`).
"""

import sys
from collections.abc import Iterator

import psutil

from market_data_pipeline.app.doctor.lines import Line
from market_data_pipeline.core.sources.opening import LIVE_CONNECTIONS

SECTION = "limits"
# Live mode may have all its connections open, and as many files again.
_LEAST_OPEN_FILES = 2 * LIVE_CONNECTIONS


def open_files() -> Iterator[Line]:
    """How many files this process may open."""
    if sys.platform == "win32":
        handles = psutil.Process().num_handles()
        yield Line(SECTION, "open files", f"{handles:,} handles open here; Windows sets no limit to them")
    else:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = "any number" if soft == resource.RLIM_INFINITY else f"{soft:,}"
        is_low = soft != resource.RLIM_INFINITY and soft < _LEAST_OPEN_FILES
        higher = f"run ulimit -n {_LEAST_OPEN_FILES:,}".replace(",", "")
        may = hard == resource.RLIM_INFINITY or hard >= _LEAST_OPEN_FILES
        cure = (higher if may else f"let root raise the limit to {_LEAST_OPEN_FILES}") if is_low else ""
        yield Line(SECTION, "open files", f"{most} at a time in a process, {_LEAST_OPEN_FILES} are needed", cure)
