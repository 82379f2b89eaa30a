"""Totals of what the exchange has served.

Belongs here: requests, statuses, weight, rows and bytes, for each market and for the archive.
Does not belong here: the weight of the current minute, for which requests are refused (`weights`).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counters:
    """Totals of one market, or of the archive."""

    requests: int = 0
    bytes: int = 0
    weight: int = 0
    rows: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    endpoints: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return the totals for JSON; 200, 418 and 429 are there even if their count is 0."""
        statuses = {"200": 0, "418": 0, "429": 0} | {str(status): count for status, count in self.statuses.items()}
        return {
            "requests": self.requests,
            "weight": self.weight,
            "status": dict(sorted(statuses.items())),
            "rows": self.rows,
            "bytes": self.bytes,
            "endpoints": dict(self.endpoints),
            "faults": dict(self.faults),
        }
