"""The progress of a run, out of its events: each event is read once."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from market_data_pipeline.api.dagster_client import RunSummary
from market_data_pipeline.api.progress import RunWatcher

Event = dict[str, Any]


class FakeWebserver:
    """One run, `r`, whose events come in pages."""

    def __init__(self, status: str, *pages: Sequence[Event], days: tuple[str, str] | None = None) -> None:
        self.status, self.pages, self.days = status, list(pages), days
        self.cursors: list[str | None] = []

    def run(self, run_id: str) -> RunSummary | None:
        if run_id != "r":
            return None
        return RunSummary("r", "backfill", self.status, 1.0, None, self.days, "http://dagster.example/runs/r")

    def events(self, run_id: str, cursor: str | None) -> tuple[Sequence[Event], str, bool]:
        self.cursors.append(cursor)
        at = int(cursor or 0)
        end = min(at + 1, len(self.pages))
        return (self.pages[at] if at < len(self.pages) else []), str(end), end < len(self.pages)


def loaded(day: str, rows: int) -> Event:
    entries = [{"label": "dagster/partition_row_count", "intValue": rows}]
    path = ["binance", "BTCUSDT", "klines_1m"]
    return {
        "__typename": "MaterializationEvent",
        "partition": day,
        "assetKey": {"path": path},
        "metadataEntries": entries,
    }


def log(level: str, message: str) -> Event:
    return {"__typename": "LogMessageEvent", "level": level, "message": message}


def failure(*causes: tuple[str, str]) -> Event:
    chain = [{"className": name, "message": f"{name}: {message}\n"} for name, message in causes]
    error = chain[0] | {"causes": chain[1:]}
    return {"__typename": "ExecutionStepFailureEvent", "message": "the step failed", "level": "ERROR", "error": error}


def look(watcher: RunWatcher) -> Any:
    progress = watcher.progress_of("r")
    assert progress is not None
    return progress


def test_days_are_counted_once_and_events_read_once() -> None:
    dagster = FakeWebserver("running", [loaded("2024-01-01", 1440)], days=("2024-01-01", "2024-01-31"))
    watcher = RunWatcher(dagster)  # type: ignore[arg-type]
    first = look(watcher)
    assert (first.days_done, first.days_asked, first.rows) == (1, 31, 1440)
    # The day again, as a retry of the run records it, and another.
    dagster.pages += [[loaded("2024-01-01", 1439)], [loaded("2024-01-02", 1440)]]
    second = look(watcher)
    assert (second.days_done, second.rows) == (2, 1439 + 1440)
    assert dagster.cursors == [None, "1", "2"]


def test_days_in_any_order_and_of_several_datasets_are_counted() -> None:
    of_another = loaded("2024-02-01", 3)
    of_another["assetKey"] = {"path": ["binance", "ETHUSDT", "klines_1m"]}
    days = [("2024-02-01", 1), ("2024-01-30", 2), ("2024-02-03", 0), ("2024-01-30", 5), ("2023-12-31", 1500)]
    watcher = RunWatcher(FakeWebserver("running", [*(loaded(*day) for day in days), of_another]))  # type: ignore[arg-type]
    progress = look(watcher)
    assert (progress.days_done, progress.rows) == (5, 1 + 5 + 0 + 1500 + 3)


def test_a_call_ends_before_all_events_of_a_big_run_are_read() -> None:
    dagster = FakeWebserver("success", *([loaded(f"2024-01-0{day}", 1440)] for day in range(1, 4)))
    watcher = RunWatcher(dagster, read_for_s=0)  # type: ignore[arg-type]
    seen = [(now.days_done, now.rows, now.up_to_date) for now in (look(watcher) for _ in range(4))]
    assert seen == [(1, 1440, False), (2, 2880, False), (3, 4320, True), (3, 4320, True)]


@pytest.mark.timeout(60)
def test_a_call_does_not_wait_for_another_one_that_reads_the_events() -> None:
    reads, go_on = threading.Event(), threading.Event()

    class Slow(FakeWebserver):
        def events(self, run_id: str, cursor: str | None) -> tuple[Sequence[Event], str, bool]:
            if cursor == "1":
                reads.set()
                assert go_on.wait(50)
            return super().events(run_id, cursor)

    watcher = RunWatcher(Slow("success", [loaded("2024-01-01", 1440)], [loaded("2024-01-02", 1440)]))  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as others:
        first = others.submit(look, watcher)
        assert reads.wait(50)
        meanwhile = look(watcher)
        assert (meanwhile.days_done, meanwhile.up_to_date) == (1, False)
        go_on.set()
        assert (first.result().days_done, first.result().up_to_date) == (2, True)


def test_an_unknown_run_is_none() -> None:
    assert RunWatcher(FakeWebserver("running")).progress_of("other") is None  # type: ignore[arg-type]


def test_the_error_is_the_first_cause_that_is_not_dagster_s_own() -> None:
    causes = ("DagsterExecutionStepExecutionError", "Error occurred"), ("StoreError", "the disk\nis full")
    for status, error in (("failure", "the disk is full"), ("canceled", "the disk is full"), ("running", None)):
        dagster = FakeWebserver(status, [failure(*causes), failure(("StoreError", "a later one"))])
        assert look(RunWatcher(dagster)).error == error  # type: ignore[arg-type]


def test_the_last_twenty_warnings_are_kept() -> None:
    lines = [log("INFO", "quiet"), *(log("WARNING", str(number)) for number in range(30)), log("ERROR", "loud")]
    dagster = FakeWebserver("running", lines)
    assert look(RunWatcher(dagster)).warnings == [*map(str, range(11, 30)), "loud"]  # type: ignore[arg-type]


def test_numbers_of_other_assets_and_checks() -> None:
    entries = [
        {"label": "rows", "intValue": 0},
        {"label": "outcome", "text": "built"},
        {"label": "schema", "table": {"records": []}},
    ]
    combined = {"path": ["binance", "BTCUSDT", "combined"]}
    evaluation = {"checkName": "c", "success": False, "severity": "WARN", "description": None, "assetKey": combined}
    dagster = FakeWebserver(
        "success",
        [
            {
                "__typename": "MaterializationEvent",
                "partition": None,
                "assetKey": combined,
                "metadataEntries": entries,
            },
            {"__typename": "AssetCheckEvaluationEvent", "evaluation": evaluation},
        ],
    )
    progress = look(RunWatcher(dagster))  # type: ignore[arg-type]
    assert progress.results == {"combined": {"rows": 0, "outcome": "built"}}
    (check,) = progress.checks
    assert (check.name, check.asset, check.passed) == ("c", "binance/BTCUSDT/combined", False)
