"""The progress of a run: sums over its events.

Belongs here: which events count, and as what. Does not belong here: requesting them (`dagster_client`).
A run over years has thousands of events, so each event is read once: every call continues after the last event it read.
A call reads for a short time only, and one call at a time: each holds one of the few threads that answer requests.
"""

import threading
import time
from array import array
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
_READ_FOR_S = 2.0
# Long enough for a page of events, so that two who watch a run of some days both get all of it.
_WAIT_FOR_READER_S = 0.2
_NO_ROWS = -1


@dataclass(slots=True)
class _DaysOfDataset:
    """The rows of each loaded day of a dataset, in four bytes a day: a load of a whole market has millions of days."""

    first: int
    rows: "array[int]" = field(default_factory=lambda: array("i"))

    def replace(self, day: int, rows: int) -> int | None:
        """Note the rows of a day, counted from year 1; return those that it had, None if it had none."""
        if day < self.first:
            self.rows = array("i", [_NO_ROWS]) * (self.first - day) + self.rows
            self.first = day
        if (lacking := day - self.first + 1 - len(self.rows)) > 0:
            self.rows.extend(array("i", [_NO_ROWS]) * lacking)
        before = self.rows[day - self.first]
        self.rows[day - self.first] = rows
        return None if before == _NO_ROWS else before


@dataclass(slots=True)
class _Tally:
    """The sums over the events up to `cursor`."""

    cursor: str | None = None
    days: dict[str, _DaysOfDataset] = field(default_factory=dict)
    days_done: int = 0
    rows: int = 0
    done: set[str] = field(default_factory=set)
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    reading: threading.Lock = field(default_factory=threading.Lock)
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
            self._note_day("/".join(path), date.fromisoformat(event["partition"]).toordinal(), values.get(ROWS) or 0)
        elif values:
            self.results[path[-1]] = values
        if path[-1] in {MANIFEST, COMBINED}:
            self.done.add("/".join(path[:2]))

    def _note_day(self, dataset: str, day: int, rows: int) -> None:
        """Count a day once, with the rows that it had last: a run that is tried again records days again."""
        before = self.days.setdefault(dataset, _DaysOfDataset(day)).replace(day, rows)
        self.days_done += before is None
        self.rows += rows - (before or 0)

    def _note_check(self, check: CheckResult) -> None:
        """Keep so many results, those that did not pass first: a load of 500 pairs has thousands."""
        self.checks.append(check)
        if len(self.checks) > _CHECKS_SHOWN:
            last_passed = next((at for at in reversed(range(len(self.checks))) if self.checks[at].passed), -1)
            del self.checks[last_passed]


class RunWatcher:
    """The progress of runs. It keeps the sums of the last 200 runs it was called for. Threads may share it."""

    def __init__(self, dagster: Dagster, *, read_for_s: float = _READ_FOR_S) -> None:
        """Nothing is read before the first call.

        Args:
            dagster: the webserver.
            read_for_s: after so long a call ends with the sums so far; the next one goes on from there.
        """
        self._dagster, self._read_for_s = dagster, read_for_s
        self._lock = threading.Lock()
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()

    def progress_of(self, run_id: str) -> Progress | None:
        """The progress of the run now, None if there is no run with this id.

        It is not `up_to_date` where the run has more events than can be read in a short time, or where another thread
        is reading them.

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
        has_read_all = False
        if tally.reading.acquire(timeout=_WAIT_FOR_READER_S):
            try:
                has_read_all = self._read(run_id, tally)
            finally:
                tally.reading.release()
        with tally.lock:
            if has_read_all and run.is_over:
                tally.days.clear()  # nothing follows that could be a day again
            return _progress(run, tally, up_to_date=has_read_all)

    def _read(self, run_id: str, tally: _Tally) -> bool:
        """Read events that are new; return whether these were all."""
        until_s = time.monotonic() + self._read_for_s
        while True:
            events, cursor, more = self._dagster.events(run_id, tally.cursor)
            with tally.lock:
                for event in events:
                    tally.note(event)
                tally.cursor = cursor
            if not more or time.monotonic() >= until_s:
                return not more


def _progress(run: RunSummary, tally: _Tally, *, up_to_date: bool) -> Progress:
    return Progress(
        run_id=run.run_id,
        what=run.what,
        status=run.status,
        up_to_date=up_to_date,
        url=run.url,
        began_s=run.began_s,
        ended_s=run.ended_s,
        days_done=tally.days_done,
        days_asked=_number_of_days(run.days),
        rows=tally.rows,
        pairs_asked=run.pairs,
        pairs_loaded=None if run.pairs is None else len(tally.done),
        error=tally.error if run.status in {"failure", "canceled"} else None,
        warnings=tally.warnings,
        checks=sorted(tally.checks, key=lambda check: check.passed),
        results=dict(tally.results) if run.pairs is None else {},
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
