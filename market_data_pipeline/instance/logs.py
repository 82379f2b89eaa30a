"""`loader.log`: the log lines of loads, from all processes of the installation; and beside it, their counts.

Belongs here: the file that log lines are written to. Does not belong here: the lines, as each module logs to
`logging.getLogger(__name__)`; the counts and their file (`core.counting`).
"""

import logging
import sys
import time
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

from market_data_pipeline.core.counting.file import keep_counts
from market_data_pipeline.core.errors import StoreUnavailable

# Ours, and that of Dagster's databases, which reports a connection that could not be closed.
_LOGGERS = ("market_data_pipeline", "sqlalchemy.pool")
# The file is rotated at this size, and so many old ones are kept.
_MOST_BYTES, _KEPT_FILES = 5_000_000, 5


def log_to(folder: Path) -> None:
    """Write the log lines of this process to `loader.log` in the folder, which several processes may share.

    What the process counts is added to the counts there.

    Raises:
        StoreUnavailable: the folder cannot be created.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    path = folder / "loader.log"
    if any(getattr(handler, "baseFilename", None) == str(path) for handler in loggers[0].handlers):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"cannot keep a log in {folder}: {reason}; set LOG_DIR to a folder you own") from error
    handler = _LoaderLog(str(path), "a", _MOST_BYTES, _KEPT_FILES, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    for logger in loggers:
        logger.addHandler(handler)
    loggers[0].setLevel(logging.INFO)
    keep_counts(folder)


class WarnsOnce(logging.FileHandler):
    """A handler that warns once, in one line, if the file cannot be written; `logging` would print many tracebacks."""

    _has_warned = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is that of `logging`
        """Warn, unless that was done before."""
        del record
        if not self._has_warned and sys.stderr is not None:
            self._has_warned = True
            sys.stderr.write(f"warning: {self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")


class _LoaderLog(WarnsOnce, ConcurrentRotatingFileHandler):
    pass
