"""What verification says: the names of its checks, and a finding of one of them.

Belongs here: the words. Does not belong here: finding anything (`checks`, `anomalies`, `verify`), and libraries that
take long to import, as processes that only pass the words on import them too.
"""

from dataclasses import dataclass
from enum import StrEnum

MATCHES_MANIFEST = "chunks_match_manifest"
KEEPS_SCHEMA = "klines_keep_schema"
COVERED = "minutes_are_covered"
JOINED = "days_are_joined"
PLAUSIBLE = "klines_are_plausible"


class Severity(StrEnum):
    """How much a finding matters: it is wrong, it may be wrong, or it is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth knowing: which check found it, on which day, what it is in one line, and how bad that is."""

    check: str
    day: str
    problem: str
    severity: Severity = Severity.ERROR
