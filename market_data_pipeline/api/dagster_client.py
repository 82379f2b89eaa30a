"""The Dagster webserver over GraphQL: start, read and cancel runs, turn sensors on.

Belongs here: queries, and what their results mean. Does not belong here: which run a request starts (`run_requests`),
the sums over a run's events (`progress`).
https://docs.dagster.io/api/graphql
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.sources.transport import NoResponse, Transport
from market_data_pipeline.instance.names import (
    ASSET_JOB,
    LOCATION,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REPOSITORY,
    WHAT_TAG,
    sensor_name,
)

_TIMEOUT_S, _RELOAD_TIMEOUT_S = 10, 120
# 1000 events of a run have a few MB.
_MOST_BYTES = 64_000_000
_CONNECTIONS = 8
_RUNS_LOOKED_AT = 60
STATUSES = {
    **dict.fromkeys(("QUEUED", "NOT_STARTED", "MANAGED", "STARTING"), "queued"),
    **dict.fromkeys(("STARTED", "CANCELING"), "running"),
    "SUCCESS": "success",
    "FAILURE": "failure",
    "CANCELED": "canceled",
}

_RUN_FIELDS = """runId status startTime endTime creationTime pipelineName
  tags { key value } assetSelection { path } assetCheckSelection { assetKey { path } }"""
_RUN = f"query($id: ID!) {{ runOrError(runId: $id) {{ __typename ... on Run {{ {_RUN_FIELDS} }} }} }}"
_RUNS = f"""query($limit: Int!) {{ runsOrError(limit: $limit) {{ __typename
  ... on Runs {{ results {{ {_RUN_FIELDS} }} }} ... on PythonError {{ message }} }} }}"""
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_TERMINATE = """mutation($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename
  ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
_EVENTS = """query($id: ID!, $cursor: String) { logsForRun(runId: $id, afterCursor: $cursor, limit: 1000) { __typename
  ... on EventConnection { cursor hasMore events { __typename
    ... on MessageEvent { message level }
    ... on MaterializationEvent { partition assetKey { path } metadataEntries { ...entry } }
    ... on ExecutionStepOutputEvent { metadataEntries { ...entry } }
    ... on AssetCheckEvaluationEvent { evaluation { checkName success severity description assetKey { path } } }
    ... on ErrorEvent { error { message className causes { message className } } } } } } }
fragment entry on MetadataEntry { label ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
  ... on TextMetadataEntry { text } ... on PathMetadataEntry { path }
  ... on TableMetadataEntry { table { records } } }"""
_ASSET = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename
  ... on AssetNode { partitionKeyConnection(limit: 1, ascending: true) { results } } } }"""
_RELOAD = """mutation($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename
  ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
  ... on Error { message } } }"""
_START_SENSOR = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename
  ... on PythonError { message } } }"""
_SENSOR = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { __typename
  ... on Sensor { sensorState { status } } ... on PythonError { message } } }"""


class DagsterUnavailable(MarketDataError):
    """The webserver does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one line.

    `what` is backfill, verify, combine, repair or run; `status` is queued, running, success, failure or canceled; times
    are seconds since 1970, None where it has not come to that; `days` are the first and the last day; `asset_roots` are
    the `exchange_id/PAIR_TOKEN` that its assets and checks begin with.
    """

    run_id: str
    what: str
    status: str
    began_s: float | None
    ended_s: float | None
    days: tuple[str, str] | None
    url: str
    asset_roots: frozenset[str] = frozenset()

    @property
    def is_over(self) -> bool:
        """True if nothing more will happen."""
        return self.status not in {"queued", "running"}


class Dagster:
    """A webserver. Threads may share it."""

    def __init__(self, url: str, *, public_url: str | None = None) -> None:
        """Nothing is sent yet; `public_url` is where a person's browser finds it, `url` if not given."""
        self.url = url.rstrip("/")
        self.public_url = (public_url or url).rstrip("/")
        # Directly, because a proxy is for the way out, and the webserver is one of our own processes.
        self._transport = Transport(self.url, connections=_CONNECTIONS, deadline_s=_TIMEOUT_S, direct=True)

    # --- runs

    def launch(
        self,
        *,
        assets: Sequence[Sequence[str]] = (),
        checks: Sequence[tuple[Sequence[str], str]] | None = None,
        job: str = ASSET_JOB,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Start a run; return its id.

        Args:
            assets: keys of the assets to materialize.
            checks: which checks to evaluate, by the key of the asset and name; None for all of the assets'.
            job: the job, that of all assets if not given.
            config: the run's config.
            tags: the run's tags.

        Raises:
            DagsterUnavailable: no answer, or the run was refused.
        """
        selector: dict[str, Any] = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "jobName": job}
        if assets or checks is not None:
            selector["assetSelection"] = [{"path": list(path)} for path in assets]
        if checks is not None:
            selector["assetCheckSelection"] = [
                {"assetKey": {"path": list(path)}, "name": name} for path, name in checks
            ]
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": dict(config or {}),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        answer = self._asked(_LAUNCH, params=params)
        if answer["__typename"] != "LaunchRunSuccess":
            raise DagsterUnavailable(f"Dagster does not start the run: {_reason(answer)}")
        return str(answer["run"]["runId"])

    def run(self, run_id: str) -> RunSummary | None:
        """The run, None if there is none with this id.

        Raises:
            DagsterUnavailable: no answer.
        """
        answer = self._asked(_RUN, id=run_id)
        return self._summary(answer) if answer["__typename"] == "Run" else None

    def last_runs(self, dataset: Dataset, *, limit: int = 10) -> list[RunSummary]:
        """The newest runs of a dataset among the newest runs of all, newest first, whoever started them.

        Raises:
            DagsterUnavailable: no answer.
        """
        answer = self._asked(_RUNS, limit=_RUNS_LOOKED_AT)
        root = f"{dataset.market.exchange_id}/{dataset.token}"
        found = [summary for one in answer.get("results", []) if root in (summary := self._summary(one)).asset_roots]
        return found[:limit]

    def events(self, run_id: str, cursor: str | None) -> tuple[list[dict[str, Any]], str, bool]:
        """At most 1000 events of a run after the cursor, the cursor after them, and whether there are more.

        Raises:
            DagsterUnavailable: no answer.
        """
        answer = self._asked(_EVENTS, id=run_id, cursor=cursor)
        if answer["__typename"] != "EventConnection":
            raise DagsterUnavailable(f"Dagster has no events of run {run_id}")
        return answer["events"], answer["cursor"], answer["hasMore"]

    def cancel(self, run_id: str) -> None:
        """Ask a run to end; what it has finished is kept.

        Raises:
            DagsterUnavailable: no answer, or it cannot be ended.
        """
        answer = self._asked(_TERMINATE, id=run_id)
        if answer["__typename"] != "TerminateRunSuccess":
            raise DagsterUnavailable(f"run {run_id} cannot be canceled: {_reason(answer)}")

    # --- the code location

    def knows(self, asset: Sequence[str], *, since: str) -> bool:
        """Whether the code location has the asset, with partitions from the day `since` on.

        Raises:
            DagsterUnavailable: no answer.
        """
        answer = self._asked(_ASSET, key={"path": list(asset)})
        return bool(answer["__typename"] == "AssetNode" and answer["partitionKeyConnection"]["results"][:1] == [since])

    def reload(self) -> None:
        """Let the code location look for new datasets; takes some seconds.

        Raises:
            DagsterUnavailable: no answer, or it cannot be loaded.
        """
        answer = self._asked(_RELOAD, timeout_s=_RELOAD_TIMEOUT_S, location=LOCATION)
        loaded = answer.get("locationOrLoadError") or answer
        if loaded["__typename"] != "RepositoryLocation":
            raise DagsterUnavailable(f"the code location cannot be loaded: {_reason(loaded)}")

    def start_sensor(self, market: Market) -> None:
        """Turn the market's live sensor on.

        Raises:
            DagsterUnavailable: no answer, or there is no such sensor.
        """
        answer = self._asked(_START_SENSOR, sensor=_sensor(market))
        if answer["__typename"] != "Sensor":
            raise DagsterUnavailable(f"the sensor {sensor_name(market)} cannot be started: {_reason(answer)}")

    def sensor_is_on(self, market: Market) -> bool:
        """Whether the market's live sensor is turned on.

        Raises:
            DagsterUnavailable: no answer.
        """
        answer = self._asked(_SENSOR, sensor=_sensor(market))
        return bool(answer["__typename"] == "Sensor" and answer["sensorState"]["status"] == "RUNNING")

    def require(self) -> None:
        """Ask for nothing but an answer.

        Raises:
            DagsterUnavailable: there is none.
        """
        self._asked("{ version }")

    # --- inside

    def _asked(self, query: str, *, timeout_s: float = _TIMEOUT_S, **variables: Any) -> Any:
        """The one field of the answer."""
        try:
            response = self._transport.request(
                f"{urlsplit(self.url).path}/graphql",
                method="POST",
                # A connection that was idle may close under a request, and a launch must not be sent twice.
                headers={"Content-Type": "application/json", "Connection": "close"},
                body=json.dumps({"query": query, "variables": variables}).encode(),
                most_bytes=_MOST_BYTES,
                deadline_s=timeout_s,
            )
            (field,) = json.loads(response.body)["data"].values()
        except (NoResponse, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, NoResponse) else type(error).__name__
            raise DagsterUnavailable(
                f"the Dagster webserver at {self.url} does not answer ({reason}); start it with market-data up"
            ) from error
        return field

    def _summary(self, run: Any) -> RunSummary:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assets = [key["path"] for key in run["assetSelection"] or []]
        checked = [check["assetKey"]["path"] for check in run["assetCheckSelection"] or []]
        first, last = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
        day = tags.get("dagster/partition")
        return RunSummary(
            run_id=run["runId"],
            what=tags.get(WHAT_TAG) or _what(run["pipelineName"], assets, checked),
            status=STATUSES[run["status"]],
            began_s=run["startTime"] or run["creationTime"],
            ended_s=run["endTime"],
            days=(first, last) if first and last else (day, day) if day else None,
            url=f"{self.public_url}/runs/{run['runId']}",
            asset_roots=frozenset("/".join(path[:2]) for path in [*assets, *checked]),
        )


def _what(job: str, assets: list[list[str]], checked: list[list[str]]) -> str:
    """What a run that nobody named is about."""
    names = {path[-1] for path in assets}
    if "klines_1m" in names:
        return "backfill"
    if names == {"combined"}:
        return "combine"
    return "verify" if job == "proof" or (checked and not assets) else "run"


def _sensor(market: Market) -> dict[str, str]:
    return {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": sensor_name(market)}


def _reason(answer: Mapping[str, Any]) -> str:
    said = answer.get("message") or "; ".join(one["message"] for one in answer.get("errors", []))
    return " ".join(str(said or json.dumps(answer)).split())[:500]
