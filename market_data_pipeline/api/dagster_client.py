"""The Dagster webserver over GraphQL: start, read and cancel runs, turn sensors on.

Belongs here: sending queries, and what their results mean. Does not belong here: the text of the queries
(`dagster_queries`), which run a request starts (`run_requests`), the sums over a run's events (`progress`).
Dagster's own client, DagsterGraphQLClient, is not used: it has no query for events, sensors or assets.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from market_data_pipeline.api import dagster_queries as queries
from market_data_pipeline.core.errors import Unavailable
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.sources.transport import NoResponse, Transport
from market_data_pipeline.instance.names import (
    ASSET_JOB,
    COMBINED,
    DATASET_TAG,
    KLINES,
    LOCATION,
    PAIRS_TAG,
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REPOSITORY,
    WHAT_OF_JOB,
    WHAT_TAG,
    asset_path,
    root_of_tag,
    sensor_name,
)

_TIMEOUT_S, _RELOAD_TIMEOUT_S, _COUNT_TIMEOUT_S = 10, 120, 3
_MOST_BYTES = 64_000_000  # 1000 events of a run have a few MB
_CONNECTIONS, _RUNS_SEARCHED, _ASSETS_TOGETHER = 8, 60, 100
STATUSES = {
    **dict.fromkeys(("QUEUED", "NOT_STARTED", "MANAGED", "STARTING"), "queued"),
    **dict.fromkeys(("STARTED", "CANCELING"), "running"),
    "SUCCESS": "success",
    "FAILURE": "failure",
    "CANCELED": "canceled",
}
"""The status of a run in the API, by Dagster's."""


class DagsterUnavailable(Unavailable):
    """The webserver does not answer, or refuses a request."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run: its kind, status, times and days.

    `what` is as for `WHAT_TAG`, or run. `status` is queued, running, success, failure or canceled. Times are seconds
    since 1970, None before it has begun or ended. `days` are its first and last day, None if it has none. `asset_roots`
    has the `exchange_id/PAIR_TOKEN` of its assets, checks and tag. `pairs` is set for a load of many.
    """

    run_id: str
    what: str
    status: str
    began_s: float | None
    ended_s: float | None
    days: tuple[str, str] | None
    url: str
    asset_roots: frozenset[str] = frozenset()
    pairs: int | None = None

    @property
    def is_over(self) -> bool:
        """True if the run has ended."""
        return self.status not in {"queued", "running"}


class Dagster:
    """A Dagster webserver. Threads may share it. Without a response each request raises DagsterUnavailable."""

    def __init__(self, url: str, *, public_url: str | None = None) -> None:
        """Connect later, at the first request.

        Args:
            url: the URL of the webserver.
            public_url: its URL in a browser, for links on pages; `url` if not given.
        """
        self.url = url.rstrip("/")
        self.public_url = (public_url or url).rstrip("/")
        # No proxy: the webserver is a process of this project, not a host on the internet.
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
        """Start a run and return its id.

        Args:
            assets: keys of the assets to materialize.
            checks: the checks to evaluate, each as its asset's key and its name; None for all checks of the assets.
            job: the name of the job.
            config: the run's config.
            tags: the run's tags.

        Raises:
            DagsterUnavailable: no response, or Dagster refused the run.
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
        result = self._query(queries.LAUNCH, params=params)
        if result["__typename"] != "LaunchRunSuccess":
            raise DagsterUnavailable(f"Dagster does not start the run: {_reason(result)}")
        return str(result["run"]["runId"])

    def run(self, run_id: str) -> RunSummary | None:
        """The run with this id, None if there is none."""
        result = self._query(queries.RUN, id=run_id)
        return self._summary(result) if result["__typename"] == "Run" else None

    def run_counts(self) -> dict[str, int]:
        """How many runs Dagster has, by status in the API."""
        counts = dict.fromkeys(STATUSES.values(), 0)
        query = " ".join(queries.RUN_COUNT % (name, name) for name in STATUSES)
        for name, found in self._fields(f"{{ {query} }}", timeout_s=_COUNT_TIMEOUT_S).items():
            counts[STATUSES[name]] += int(found.get("count") or 0)
        return counts

    def last_runs(self, dataset: Dataset, *, limit: int = 10) -> list[RunSummary]:
        """The newest runs of a dataset, newest first, found among the newest runs of all datasets."""
        root = "/".join(asset_path(dataset, KLINES)[:2])
        summaries = map(self._summary, self._query(queries.RUNS, limit=_RUNS_SEARCHED).get("results", []))
        return [summary for summary in summaries if root in summary.asset_roots][:limit]

    def events(self, run_id: str, cursor: str | None) -> tuple[list[dict[str, Any]], str, bool]:
        """At most 1000 events of a run after the cursor, the cursor of the next call, and whether there are more."""
        result = self._query(queries.EVENTS, id=run_id, cursor=cursor)
        if result["__typename"] != "EventConnection":
            raise DagsterUnavailable(f"Dagster does not return the events of run {run_id}")
        return result["events"], result["cursor"], result["hasMore"]

    def cancel(self, run_id: str) -> None:
        """Request that a run ends. The days that it has finished are kept.

        Raises:
            DagsterUnavailable: no response, or the run cannot be canceled.
        """
        result = self._query(queries.TERMINATE, id=run_id)
        if result["__typename"] != "TerminateRunSuccess":
            raise DagsterUnavailable(f"run {run_id} cannot be canceled: {_reason(result)}")

    # --- the code location

    def has_assets(self, assets: Sequence[tuple[Sequence[str], str]]) -> bool:
        """Whether the code location has all assets, each with this day (YYYY-MM-DD) as its first partition."""
        for first in range(0, len(assets), _ASSETS_TOGETHER):
            asked = assets[first : first + _ASSETS_TOGETHER]
            named = (queries.ASSET % json.dumps(list(path)) for path, _ in asked)
            found = self._fields(f"{{ {' '.join(f'a{number}: {field}' for number, field in enumerate(named))} }}")
            for number, (_, since) in enumerate(asked):
                node = found[f"a{number}"]
                if node["__typename"] != "AssetNode" or node["partitionKeyConnection"]["results"][:1] != [since]:
                    return False
        return True

    def dataset_roots(self) -> set[str]:
        """The `exchange_id/PAIR_TOKEN` of each dataset that the code location has."""
        paths = (node["assetKey"]["path"] for node in self._query(queries.ASSETS))
        return {"/".join(path[:2]) for path in paths if path[-1] == KLINES}

    def has_backfill(self) -> bool:
        """Whether a backfill of the UI goes on."""
        return bool(self._query(queries.BACKFILLS).get("results"))

    def reload(self) -> None:
        """Reload the code location, so that it finds new datasets. This takes some seconds.

        Raises:
            DagsterUnavailable: no response, or the code location cannot be loaded.
        """
        result = self._query(queries.RELOAD, timeout_s=_RELOAD_TIMEOUT_S, location=LOCATION)
        loaded = result.get("locationOrLoadError") or result
        if loaded["__typename"] != "RepositoryLocation":
            raise DagsterUnavailable(f"the code location cannot be loaded: {_reason(loaded)}")

    def start_sensor(self, market: Market) -> None:
        """Turn the market's live sensor on.

        Raises:
            DagsterUnavailable: no response, or there is no such sensor.
        """
        result = self._query(queries.START_SENSOR, sensor=_sensor(market))
        if result["__typename"] != "Sensor":
            raise DagsterUnavailable(f"the sensor {sensor_name(market)} cannot be started: {_reason(result)}")

    def sensor_is_on(self, market: Market) -> bool:
        """Whether the market's live sensor is turned on."""
        result = self._query(queries.SENSOR, sensor=_sensor(market))
        return bool(result["__typename"] == "Sensor" and result["sensorState"]["status"] == "RUNNING")

    # --- checks

    def executions(self, checks: Sequence[tuple[Sequence[str], str]], *, limit: int) -> list[list[dict[str, Any]]]:
        """The last executions of each check, given as its asset's key and its name, newest first, in that order."""
        fields = [queries.EXECUTIONS % (json.dumps(list(path)), json.dumps(name), limit) for path, name in checks]
        aliased = " ".join(f"c{number}: {field}" for number, field in enumerate(fields))
        return list(self._fields(f"{{ {aliased} }} {queries.EXECUTION}").values())

    def require_reachable(self, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Send the smallest query."""
        self._query(queries.VERSION, timeout_s=timeout_s)

    # --- inside

    def _query(self, query: str, *, timeout_s: float = _TIMEOUT_S, **variables: Any) -> Any:
        """Send a query that has one field, and return that field of the response."""
        (field,) = self._fields(query, timeout_s=timeout_s, **variables).values()
        return field

    def _fields(self, query: str, *, timeout_s: float = _TIMEOUT_S, **variables: Any) -> dict[str, Any]:
        """Send a query, and return the fields of the response, at least one."""
        try:
            response = self._transport.request(
                f"{urlsplit(self.url).path}/graphql",
                method="POST",
                # The server may close an idle connection while a request is sent, and a launch must not be sent twice.
                headers={"Content-Type": "application/json", "Connection": "close"},
                body=json.dumps({"query": query, "variables": variables}).encode(),
                most_bytes=_MOST_BYTES,
                deadline_s=timeout_s,
            )
            answer = json.loads(response.body)
            fields: dict[str, Any] = answer["data"]
            refused = answer["data"] is None and bool(answer.get("errors"))
            if not refused and not fields.keys():
                raise ValueError("the response has no field")
        except (NoResponse, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, NoResponse) else type(error).__name__
            raise DagsterUnavailable(
                f"the Dagster webserver at {self.url} does not answer ({reason}); start market-data up, or "
                "dagster-webserver where that is a service of its own"
            ) from error
        if refused:
            raise DagsterUnavailable(f"the Dagster webserver at {self.url} answers with an error: {_reason(answer)}")
        return fields

    def _summary(self, run: Any) -> RunSummary:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assets = [key["path"] for key in run["assetSelection"] or []]
        checked = [check["assetKey"]["path"] for check in run["assetCheckSelection"] or []]
        tagged = [root_of_tag(tags[DATASET_TAG])] if DATASET_TAG in tags else []
        first, last, day = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG), tags.get(PARTITION_TAG)
        return RunSummary(
            run_id=run["runId"],
            what=tags.get(WHAT_TAG) or _what(run["pipelineName"], assets, checked),
            status=STATUSES[run["status"]],
            began_s=run["startTime"] or run["creationTime"],
            ended_s=run["endTime"],
            days=(first, last) if first and last else (day, day) if day else None,
            url=f"{self.public_url}/runs/{run['runId']}",
            asset_roots=frozenset("/".join(path[:2]) for path in [*assets, *checked, *tagged]),
            pairs=int(pairs) if (pairs := tags.get(PAIRS_TAG, "")).isdigit() else None,
        )


def _what(job: str, assets: list[list[str]], checked: list[list[str]]) -> str:
    """The kind of a run without the tag for it, such as one started in the Dagster UI."""
    names = {path[-1] for path in assets}
    if KLINES in names:
        return "backfill"
    if names == {COMBINED}:
        return "combine"
    return WHAT_OF_JOB.get(job, "verify" if checked and not assets else "run")


def _sensor(market: Market) -> dict[str, str]:
    return {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": sensor_name(market)}


def _reason(result: Mapping[str, Any]) -> str:
    message = result.get("message") or "; ".join(error["message"] for error in result.get("errors", []))
    return " ".join(str(message or json.dumps(result)).split())[:500]
