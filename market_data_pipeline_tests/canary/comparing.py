"""Shapes against recorded ones.

Belongs here: what counts as a difference. Does not belong here: asking (`asking`), printing (`__main__`).
"""

from collections.abc import Iterator
from typing import Any

# Which of them are there changes from day to day; one that was never seen is a difference.
_KNOWN_VALUES = ("statuses", "kinds of contracts")
# The exchange adds fields; one that is gone, or of another type, is a difference.
_MAY_GROW = ("fields of a pair", "time", "parts", "parts of a file")


def differences(recorded: Any, seen: Any, path: str = "") -> Iterator[str]:
    """Each difference in one line: where, what is recorded, what was seen."""
    name = path.rpartition(": ")[2]
    if name in _KNOWN_VALUES:
        if new := sorted(set(seen or []) - set(recorded)):
            yield f"{path}: never seen before: {', '.join(new)}"
    elif name in _MAY_GROW and isinstance(recorded, list):
        if gone := sorted(set(recorded) - set(seen or [])):
            yield f"{path}: gone: {', '.join(gone)}"
    elif isinstance(recorded, dict) and isinstance(seen, dict):
        names = recorded.keys() if name in _MAY_GROW else recorded.keys() | seen.keys()
        for each in sorted(names):
            yield from differences(recorded.get(each), seen.get(each), f"{path}: {each}" if path else each)
    elif recorded != seen:
        yield f"{path}: recorded {recorded}, seen {seen}"
