"""The progress of a run: sums over its events.

Belongs here: which events count, and as what. Does not belong here: requesting them (`dagster_client`).
A run over years has thousands of events, so each event is read once: every call continues after the last event it read.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from market_data_pipeline.api.dagster_client import Dagster, RunSummary
from market_data_pipeline.api.models import CheckResult, Progress
from market_data_pipeline.instance.names import COMBINED, KLINES, MANIFEST, ROWS

_RUNS_REMEMBERED = 200
_WARNINGS_SHOWN, _CHECKS_SHOWN = 20, 200


@dataclass(slots=True)
class _Tally:
    """The sums over the events up to `cursor`."""

    cursor: str | None = None
    rows_by_day: dict[tuple[str, str], int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, event: dict[str, Any]) -> None:
        """Add an event."""
        match event["__typename"]:
            case "MaterializationEvent":
                self._note_materialized(event)
            case "AssetCheckEvaluationEvent":
                self._note_check(_check(event["evaluation"]))
            case "ExecutionStepOutputEvent" if event["metadataEntries"]:
                self.results["run"] = _values(event["metadataEntries"])
            case "ExecutionStepFailureEvent" | "RunFailureEvent" | "RunCanceledEvent":
                self.error = self.error or _reason(event)
            case "LogMessageEvent" if event["level"] in {"WARNING", "ERROR", "CRITICAL"}:
                self.warnings = [*self.warnings[1 - _WARNINGS_SHOWN :], event["message"]]

    def _note_materialized(self, event: dict[str, Any]) -> None:
        values, path = _values(event["metadataEntries"]), event["assetKey"]["path"]
        if path[-1] == KLINES and event["partition"]:
            self.rows_by_day["/".join(path), event["partition"]] = values.get(ROWS) or 0
        elif values:
            self.results[path[-1]] = values
        if path[-1] in {MANIFEST, COMBINED}:
            self.done.add("/".join(path[:2]))

    def _note_check(self, check: CheckResult) -> None:
        """Keep so many results, those that did not pass first: a load of 500 pairs has thousands."""
        self.checks.append(check)
        if len(self.checks) > _CHECKS_SHOWN:
            last_passed = next((at for at in reversed(range(len(self.checks))) if self.checks[at].passed), -1)
            del self.checks[last_passed]


class RunWatcher:
    """The progress of runs. It keeps the sums of the last 200 runs it was called for. Threads may share it."""

    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._lock = threading.Lock()
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()

    def progress_of(self, run_id: str) -> Progress | None:
        """The progress of the run now, None if there is no run with this id.

        Raises:
            DagsterUnavailable: no response.
        """
        run = self._dagster.run(run_id)
        if run is None:
            return None
        with self._lock:
            tally = self._tallies.setdefault(run_id, _Tally())
            self._tallies.move_to_end(run_id)
            while len(self._tallies) > _RUNS_REMEMBERED:
                self._tallies.popitem(last=False)
        with tally.lock:
            more = True
            while more:
                events, tally.cursor, more = self._dagster.events(run_id, tally.cursor)
                for event in events:
                    tally.note(event)
            return _progress(run, tally)


def _progress(run: RunSummary, tally: _Tally) -> Progress:
    return Progress(
        run_id=run.run_id,
        what=run.what,
        status=run.status,
        url=run.url,
        began_s=run.began_s,
        ended_s=run.ended_s,
        days_done=len(tally.rows_by_day),
        days_asked=_number_of_days(run.days),
        rows=sum(tally.rows_by_day.values()),
        pairs_asked=run.pairs,
        pairs_loaded=None if run.pairs is None else len(tally.done),
        error=tally.error if run.status in {"failure", "canceled"} else None,
        warnings=tally.warnings,
        checks=sorted(tally.checks, key=lambda check: check.passed),
        results=tally.results if run.pairs is None else {},
    )


def _number_of_days(days: tuple[str, str] | None) -> int | None:
    return None if days is None else (date.fromisoformat(days[1]) - date.fromisoformat(days[0])).days + 1


def _check(evaluation: dict[str, Any]) -> CheckResult:
    return CheckResult(
        name=evaluation["checkName"],
        asset="/".join(evaluation["assetKey"]["path"]),
        passed=evaluation["success"],
        severity=evaluation["severity"],
        description=evaluation["description"],
    )


def _values(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The numbers, texts and paths by label; tables and Markdown are left out."""
    values = {}
    for entry in entries:
        value = next((entry[name] for name in ("intValue", "floatValue", "text", "path") if name in entry), None)
        if value is not None:
            values[entry["label"]] = value
    return values


def _reason(event: dict[str, Any]) -> str:
    """The message of the error in the chain of causes that comes first and is not one of Dagster's own classes."""
    error = event.get("error")
    if not error:
        return " ".join(str(event["message"]).split())
    chain = [error, *error.get("causes", [])]
    cause = next((cause for cause in chain if not str(cause["className"]).startswith("Dagster")), chain[-1])
    message = " ".join(cause["message"].split())
    # Dagster puts the name of the class before the message.
    return message.partition(": ")[2] or message
