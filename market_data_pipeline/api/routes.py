"""The routes for programs: start, watch and cancel runs; the status of datasets; health.

Belongs here: methods, paths, HTTP statuses and their descriptions in the OpenAPI document. Does not belong here: what a
route does (`run_requests`, `live_requests`, `progress`), pages (`pages.browse`).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from market_data_pipeline.api import live_requests, run_requests
from market_data_pipeline.api.context import InjectedContext
from market_data_pipeline.api.dagster_client import DagsterUnavailable
from market_data_pipeline.api.live_requests import LivePairs
from market_data_pipeline.api.metrics.page import MEDIA_TYPE as METRICS_TYPE
from market_data_pipeline.api.models import (
    Backfill,
    CancelRequested,
    Combine,
    Health,
    Live,
    LiveMany,
    LiveWords,
    MarketName,
    PairName,
    PairWords,
    Progress,
    Report,
    Started,
    Status,
    UniverseName,
    UnreadableDataset,
    Verify,
    ZoneName,
)
from market_data_pipeline.api.problems import MEDIA_TYPE, Problem
from market_data_pipeline.api.security import require_token
from market_data_pipeline.app.as_json import status_json
from market_data_pipeline.app.status import statuses_of_each
from market_data_pipeline.app.targets import Refused, target_of
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.validators import of_form

_EVENTS_INTERVAL_S = 1.0
_ENDED = {"success", "failure", "canceled"}
_DELETED = {"status": "canceled", "error": "the run was deleted in Dagster; what it had loaded is kept"}

Market = Annotated[MarketName | None, Query()]
Pair = Annotated[PairName | None, Query()]
Pairs = Annotated[PairWords | None, Query()]
UniverseOf = Annotated[UniverseName | None, Query()]
LivePair = Annotated[LiveWords | None, Query()]
Zone = Annotated[ZoneName | None, Query()]
_RUN_ID = r"^[0-9A-Za-z-]{1,64}$"
RunId = Annotated[
    str,
    of_form(_RUN_ID, "not the id of a run; give `run_id` of the response that started it"),
    Path(json_schema_extra={"pattern": _RUN_ID}, description="`run_id` in the response that started the run"),
]
Index = Annotated[int | None, Query(ge=1, le=1_000_000, description="index of a chunk, from 1")]


def _problems(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route for OpenAPI: descriptions by status, `s404` for 404; 422 is always among them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    texts = {"s422": "The request is not valid, or cannot be done", **descriptions}
    return {int(status[1:]): {"description": text, "content": content} for status, text in texts.items()}


_CHANGES = _problems(
    s400="The body cannot be parsed, or the host is unknown",
    s401="The token is missing or wrong",
    s403="The request comes from a page of another site",
    s413="The request is too large",
    s500="The store is damaged",
    s502="The exchange sent an unexpected response",
    s503="Dagster, the exchange or the disk is not available",
)
_READS = _problems(s400="The host is unknown", s500="The store is damaged", s503="Dagster or the disk is not available")
reading = APIRouter()
changing = APIRouter(dependencies=[Depends(require_token)])


def _run_progress(context: InjectedContext, run_id: RunId) -> Progress:
    progress = context.run_watcher.progress_of(run_id)
    if progress is None:
        raise Problem(404, "There is no such run", f"Dagster has no run with the id {run_id!r}")
    return progress


# A dependency runs before the response begins, so that an unknown run is a 404 where events are streamed, too.
RunProgress = Annotated[Progress, Depends(_run_progress)]


@reading.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    """Redirect to the browse page."""
    return RedirectResponse("/browse")


@changing.post("/backfill", status_code=202, responses=_CHANGES, tags=["runs"])
def backfill(context: InjectedContext, request: Backfill) -> Started:
    """Start a run that loads the days of a window. Days whose chunks are complete are skipped."""
    return run_requests.backfill(context, request)


@changing.post("/verify", status_code=202, responses=_CHANGES, tags=["runs"])
def verify(context: InjectedContext, request: Verify) -> Started:
    """Start a run that checks one dataset or all; with `repair`, one that loads damaged and unexplained days again."""
    return run_requests.verify(context, request)


@changing.post("/combine", status_code=202, responses=_CHANGES, tags=["runs"])
def combine(
    context: InjectedContext,
    tz: Zone = None,
    from_index: Index = None,
    to_index: Index = None,
    market: Market = None,
    pair: Pair = None,
    pairs: Pairs = None,
    universe: UniverseOf = None,
) -> Started:
    """Start a run that writes chunks into one Parquet file, unless the file already has exactly these chunks."""
    request = Combine(
        market=market, pair=pair, pairs=pairs, universe=universe, tz=tz, from_index=from_index, to_index=to_index
    )
    return run_requests.combine(context, request)


@changing.post("/report", status_code=202, responses=_CHANGES, tags=["runs"])
def report(context: InjectedContext, request: Report) -> Started:
    """Start a run that tells Dagster of the stored days that it has forgotten, as the manifests list them."""
    return run_requests.report(context, request)


@changing.post("/live", status_code=202, responses=_CHANGES, tags=["live"])
def go_live(
    context: InjectedContext,
    tz: Zone = None,
    market: Market = None,
    pair: LivePair = None,
    pairs: Pairs = None,
    universe: UniverseOf = None,
) -> Live | LiveMany:
    """Turn live mode on for datasets, which are made if they do not exist, and start the market's sensor."""
    return live_requests.go_live(context, LivePairs(market, pair or (), pairs, universe, tz))


@changing.delete("/live", status_code=202, responses=_CHANGES, tags=["live"])
def stop_live(
    context: InjectedContext,
    market: Market = None,
    pair: LivePair = None,
    pairs: Pairs = None,
    universe: UniverseOf = None,
) -> Live | LiveMany:
    """Turn live mode off for datasets."""
    return live_requests.stop_live(context, LivePairs(market, pair or (), pairs, universe))


@reading.get("/runs/{run_id}", responses=_READS | _problems(s404="There is no such run"), tags=["runs"])
def run(progress: RunProgress) -> Progress:
    """The status of a run, and what it has done so far."""
    return progress


@reading.get(
    "/runs/{run_id}/events",
    response_class=EventSourceResponse,
    responses=_READS | _problems(s404="There is no such run"),
    tags=["runs"],
)
async def run_events(context: InjectedContext, progress: RunProgress) -> AsyncIterator[ServerSentEvent]:
    """The progress of a run as server-sent events: `progress` after each change, and one `end` when the run has ended.

    The stream of a run that is deleted ends, too. While Dagster is not available, the events are `waiting`, with the
    reason in `detail`.
    """
    last = None
    while True:
        if progress != last:
            has_ended = progress.status in _ENDED and progress.up_to_date
            yield ServerSentEvent(event="end" if has_ended else "progress", data=progress)
            if has_ended:
                context.proof_watcher.expect_news()
                return
            last = progress
        await asyncio.sleep(_EVENTS_INTERVAL_S)
        try:
            now = await run_in_threadpool(context.run_watcher.progress_of, progress.run_id)
        except DagsterUnavailable as error:
            now = progress
            # The webserver may be restarting. If the stream ended here, a browser would open it again at once.
            yield ServerSentEvent(event="waiting", data={"detail": str(error)})
            await asyncio.sleep(5 * _EVENTS_INTERVAL_S)
        if now is None:
            yield ServerSentEvent(event="end", data=progress.model_copy(update=_DELETED))
            return
        progress = now


@changing.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    responses=_CHANGES | _problems(s404="There is no such run", s409="The run is over"),
    tags=["runs"],
)
def cancel(context: InjectedContext, progress: RunProgress) -> CancelRequested:
    """Request that a run ends. The days that it has loaded are kept."""
    if progress.status in _ENDED:
        raise Problem(409, "The run is over", f"run {progress.run_id} has ended; there is nothing to cancel")
    context.dagster.cancel(progress.run_id)
    return CancelRequested(run_id=progress.run_id, status_url=f"/runs/{progress.run_id}")


@reading.get(
    "/status",
    response_model_exclude_unset=True,
    responses=_READS | _problems(s404="There is no such dataset"),
    tags=["store"],
)
def status(context: InjectedContext, market: Market = None, pair: Pair = None) -> list[Status | UnreadableDataset]:
    """The datasets in numbers, read from their manifests: that of a pair, else those of a market, else all.

    Of several, those that cannot be read come last, each with its `problem` in place of numbers.
    """
    target, refused = target_of(context.settings, market, pair), list[Refused]()
    try:
        statuses = statuses_of_each(context.settings, [target], on_refused=refused.append)
    except UsageError as error:
        if target.pair_named:
            raise Problem(404, "There is no such dataset", str(error)) from error
        return []
    unreadable = [UnreadableDataset(market=each.market.value, pair=each.pair, problem=each.problem) for each in refused]
    return [*(Status.model_validate(status_json(status)) for status in statuses), *unreadable]


@reading.get(
    "/health",
    responses={400: _READS[400], 503: {"model": Health, "description": "At least one check failed"}},
    tags=["store"],
)
async def health(context: InjectedContext, response: Response) -> Health:
    """Check whether a load could start now, and whether live datasets are current.

    The checks are of the data root, the disk, the datasets, Dagster, its webserver and daemon, the broker and the
    workers if runs go to them, the exchange, its clock and the request weight. Results are kept for 15 seconds. The
    answer comes within 5 seconds; checks that have not ended by then are one sign, `checks`, which is bad.
    """
    health = await context.health_check.health()
    response.status_code = 200 if health.ok else 503
    return health


@reading.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 400: _READS[400]},
    tags=["store"],
)
def metrics(context: InjectedContext) -> Response:
    """The numbers that Prometheus reads: datasets, freshness, runs, request weight, and what processes have counted.

    They are kept for 5 seconds.
    """
    return Response(context.metrics.text(), media_type=METRICS_TYPE)
