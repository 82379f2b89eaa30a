"""Requests that fail as a scenario says.

Belongs here: which request an entry of `fail` is for, how often, and the response. Does not belong here: the faults by
name (`faults`).
"""

from collections import Counter

from starlette.responses import Response

from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.scenario.format import FailSpec


class Failures:
    """The entries of `fail`, each with the number of requests that it was for."""

    def __init__(self, entries: list[FailSpec]) -> None:
        """Start with none committed."""
        self._entries = entries
        self._committed: Counter[int] = Counter()

    def __call__(self, request: RequestInfo) -> Response | str | None:
        """Return what the first entry that is for this request says: a response, or the name of a fault."""
        for number, entry in enumerate(self._entries):
            if _is_for(entry, request) and (entry.n is None or self._committed[number] < entry.n):
                self._committed[number] += 1
                return entry.fault or _response(entry)
        return None


def _is_for(entry: FailSpec, request: RequestInfo) -> bool:
    areas = (entry.area,) if entry.area else ("spot", "futures")
    if request.area not in areas or entry.path not in request.path:
        return False
    return entry.symbol is None or request.params.get("symbol") == entry.symbol or f"/{entry.symbol}/" in request.path


def _response(entry: FailSpec) -> Response:
    return Response(entry.body.encode(), entry.status or 500, {"content-type": entry.type, **entry.headers})
