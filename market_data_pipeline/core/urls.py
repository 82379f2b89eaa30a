"""Whether a text that a user gives is the URL of a server.

Belongs here: what is asked of every such text, whatever server it is. Does not belong here: what else is asked of one
(`settings`, `core.store.storage.opening`), connections (`core.sources`).
"""

import re
from urllib.parse import urlsplit

WRITE_URL = "write http://HOST:PORT or https://HOST"


def is_url(text: str) -> bool:
    """True if it is the URL of a server over HTTP, with a path or without."""
    try:
        parts = urlsplit(text)
        return bool(re.fullmatch(r"https?://\S+", text) and parts.hostname) and parts.port != 0
    except ValueError:  # of a bracket that is not closed, and of what is no port
        return False
