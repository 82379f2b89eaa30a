"""A webserver that responds to the API's queries as Dagster does, and runs nothing."""

import json
import math
import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from fastapi import FastAPI, Request

RUN_ID = "0b3a7f0e-5d0c-4c43-8d57-9e0a3f7f2f3b"
RUN: dict[str, Any] = {
    "__typename": "Run",
    "runId": RUN_ID,
    "status": "STARTED",
    "startTime": 1.0,
    "endTime": None,
    "creationTime": 0.5,
    "pipelineName": "__ASSET_JOB",
    "tags": [],
    "assetSelection": [],
    "assetCheckSelection": None,
}
_RESULTS: dict[str, Any] = {
    "launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": RUN_ID}},
    "runsOrError": {"__typename": "Runs", "results": [RUN]},
    "logsForRun": {"__typename": "EventConnection", "cursor": "1", "hasMore": False, "events": []},
    "terminateRun": {"__typename": "TerminateRunSuccess"},
    "assetNodeOrError": {"__typename": "AssetNotFoundError"},
    "reloadRepositoryLocation": {
        "__typename": "WorkspaceLocationEntry",
        "locationOrLoadError": {"__typename": "RepositoryLocation"},
    },
    "startSensor": {"__typename": "Sensor"},
    "sensorOrError": {"__typename": "Sensor", "sensorState": {"status": "RUNNING"}},
    "version": "1.13.27",
}


_EXECUTIONS = re.compile(
    r"(c\d+): assetCheckExecutions\(assetKey: \{path: (\[.*?\])\}, checkName: (\".*?\"), limit: (\d+)\)"
)
_ASSETS = re.compile(r"(a\d+): assetNodeOrError")
_COUNTS = re.compile(r"(\w+): runsOrError\(filter:")


def execution(
    passed: bool | None = True, *, status: str = "", severity: str = "ERROR", text: str = "", at_s: float = 0
):
    """An execution of a check; without `passed` it has no result."""
    result = {"timestamp": at_s, "success": passed, "severity": severity, "description": text}
    status = status or ("IN_PROGRESS" if passed is None else "SUCCEEDED" if passed else "FAILED")
    return {"status": status, "timestamp": at_s, "evaluation": None if passed is None else result}


def fake_dagster(
    *,
    found: float = math.inf,
    checks: Mapping[tuple[str, str], list[dict[str, Any]]] | None = None,
    run: Mapping[str, Any] = RUN,
    **results: Any,
) -> tuple[FastAPI, list[dict[str, Any]]]:
    """The app, and the queries that it receives, in order.

    The run is found so many times, then it is deleted. `checks` has the executions of a check, newest first, by asset
    (`exchange_id/PAIR_TOKEN/name`) and name. `results` are used in place of its own, by field; a function is called.
    """
    app, received = FastAPI(), []
    fields, asked = _RESULTS | results, count()

    @app.post("/graphql")
    async def graphql(request: Request) -> dict[str, Any]:
        query = await request.json()
        received.append(query)
        if "runOrError" in query["query"]:
            known = query["variables"]["id"] == RUN_ID and next(asked) < found
            return {"data": {"runOrError": run if known else {"__typename": "RunNotFoundError"}}}
        if executions := _EXECUTIONS.findall(query["query"]):
            known = {
                alias: (checks or {}).get(("/".join(json.loads(path)), json.loads(name)), [])[: int(limit)]
                for alias, path, name, limit in executions
            }
            return {"data": known}
        if assets := _ASSETS.findall(query["query"]):
            return {"data": dict.fromkeys(assets, fields["assetNodeOrError"])}
        if counted := _COUNTS.findall(query["query"]):
            return {"data": {alias: {"count": 0} for alias in counted}}
        name = next(name for name in fields if name in query["query"])
        result = fields[name]
        return {"data": {name: await result() if callable(result) else result}}

    return app, received
