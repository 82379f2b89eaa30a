"""The names that a user may give as the source of klines.

Belongs here: the names, for all that reads one: settings, universes, requests, options. Does not belong here: what they
stand for (`core.sources.opening`).
"""

from typing import Literal, get_args

SourceName = Literal["auto", "rest", "archive"]
SOURCE_NAMES: tuple[str, ...] = get_args(SourceName)
SOURCE_NAMES_TEXT = f"{', '.join(SOURCE_NAMES[:-1])} or {SOURCE_NAMES[-1]}"
