"""`loader.log`: what loads did and met, kept across runs and faces.

Belongs here: where log lines go. Does not belong here: what they say; modules log to `logging.getLogger(__name__)`.
"""

import logging
import time
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

_MOST_BYTES, _KEPT_FILES = 5_000_000, 5


def log_to(folder: Path) -> None:
    """Let this process's log lines also go to `loader.log` in the folder; several processes may share it."""
    logger = logging.getLogger("market_data_pipeline")
    path = folder / "loader.log"
    if any(getattr(handler, "baseFilename", None) == str(path) for handler in logger.handlers):
        return
    folder.mkdir(parents=True, exist_ok=True)
    handler = ConcurrentRotatingFileHandler(str(path), "a", _MOST_BYTES, _KEPT_FILES, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
