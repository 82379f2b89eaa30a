"""`loader.log`: what loads did and met, kept across runs and faces.

Belongs here: where log lines go. Does not belong here: what they say; modules log to `logging.getLogger(__name__)`.
"""

import logging
import sys
import time
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

from market_data_pipeline.core.errors import StoreError

_MOST_BYTES, _KEPT_FILES = 5_000_000, 5


def log_to(folder: Path) -> None:
    """Let this process's log lines also go to `loader.log` in the folder; several processes may share it.

    Raises:
        StoreError: there can be no such folder.
    """
    logger = logging.getLogger("market_data_pipeline")
    path = folder / "loader.log"
    if any(getattr(handler, "baseFilename", None) == str(path) for handler in logger.handlers):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(f"cannot keep a log in {folder}: {reason}; set LOG_DIR to a folder you own") from error
    handler = _LoaderLog(str(path), "a", _MOST_BYTES, _KEPT_FILES, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _LoaderLog(ConcurrentRotatingFileHandler):
    """Says in one line, once, that it cannot be written; `logging` would print a traceback for each of its lines."""

    _has_said_so = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is that of `logging`
        del record
        if not self._has_said_so:
            self._has_said_so = True
            sys.stderr.write(f"warning: {self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")
