"""The names of verification's checks, and a finding of one of them.

Belongs here: values. Does not belong here: finding anything (`checks`, `anomalies`, `proof.verify`), and imports that
take long, as processes that only show findings import this module too.
"""

from dataclasses import dataclass
from enum import StrEnum

MATCHES_MANIFEST = "chunks_match_manifest"
KEEPS_SCHEMA = "klines_keep_schema"
COVERED = "minutes_are_covered"
JOINED = "days_are_joined"
PLAUSIBLE = "klines_are_plausible"


class Severity(StrEnum):
    """How much a finding matters: something is wrong, something may be wrong, or it is only worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check: on which day, what it is in one line, and how much it matters."""

    check: str
    day: str
    problem: str
    severity: Severity = Severity.ERROR
