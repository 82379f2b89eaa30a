"""How many files and sockets this process may have open: live mode has a lock for each dataset, and many connections.

Belongs here: raising the limit of the operating system. Does not belong here: what is opened (`market`).

The soft limit is 256 on macOS and 1024 on Linux, and a process may raise it to the hard one. Windows has none that
matters here.
"""

from contextlib import suppress

# What else a process has open, with Dagster's databases and a web server in it.
_OTHERS = 500
_wanted: dict[str, int] = {}


def allow_open_files(whose: str, count: int) -> None:
    """Let this process have so many files and sockets open beside those of others, as far as the hard limit goes."""
    _wanted[whose] = count
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sum(_wanted.values()) + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    with suppress(ValueError, OSError):  # the system has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
