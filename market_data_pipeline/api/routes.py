"""The routes for programs: start, watch and cancel runs; what is stored; whether all is well.

Belongs here: methods, paths, statuses, what OpenAPI says of them. Does not belong here: what they do (`launching`,
`progress`), pages (`browse`).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from market_data_pipeline.api import launching
from market_data_pipeline.api.context import Given
from market_data_pipeline.api.dagster_client import DagsterUnavailable
from market_data_pipeline.api.models import (
    Backfill,
    CancelRequested,
    Health,
    Live,
    MarketName,
    PairName,
    Progress,
    Started,
    Status,
    Verify,
    ZoneName,
)
from market_data_pipeline.api.problems import MEDIA_TYPE, Problem
from market_data_pipeline.api.security import require_token
from market_data_pipeline.app.as_json import status_json
from market_data_pipeline.app.status import statuses_of
from market_data_pipeline.app.targets import target_of
from market_data_pipeline.core.errors import UsageError

_LOOKED_AT_EVERY_S = 1.0
_OVER = {"success", "failure", "canceled"}

Market = Annotated[MarketName | None, Query()]
Pair = Annotated[PairName | None, Query()]
Zone = Annotated[ZoneName | None, Query()]
RunId = Annotated[str, Path(pattern=r"^[0-9A-Za-z-]{1,64}$", description="as the answer that started it has it")]
Index = Annotated[int | None, Query(ge=1, le=1_000_000, description="a chunk by its index, from 1")]


def _problems(**said: str) -> dict[int | str, dict[str, Any]]:
    """What else a route may answer, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    texts = {"s422": "The request is not valid, or cannot be done", **said}
    return {int(status[1:]): {"description": text, "content": content} for status, text in texts.items()}


_CHANGES = _problems(
    s400="The body is not JSON, or the host is unknown",
    s401="A token is needed",
    s403="A page of another site asked",
    s413="The request is too large",
    s500="The store is not as it should be",
    s502="The exchange answered otherwise than expected",
    s503="Dagster or the exchange is not available",
)
_READS = _problems(s400="The host is unknown", s500="The store is not as it should be", s503="Dagster is not available")
reading = APIRouter()
changing = APIRouter(dependencies=[Depends(require_token)])


def _progress(context: Given, run_id: RunId) -> Progress:
    found = context.watch.look(run_id)
    if found is None:
        raise Problem(404, "There is no such run", f"Dagster knows no run {run_id!r}")
    return found


# Found before the answer begins, so that an unknown run is a 404 also where events are streamed.
Found = Annotated[Progress, Depends(_progress)]


@reading.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    """The browse page."""
    return RedirectResponse("/browse")


@changing.post("/backfill", status_code=202, responses=_CHANGES, tags=["runs"])
def backfill(context: Given, asked: Backfill) -> Started:
    """Load the days of a window; what is stored and whole is skipped."""
    return launching.backfill(context, asked)


@changing.post("/verify", status_code=202, responses=_CHANGES, tags=["runs"])
def verify(context: Given, asked: Verify) -> Started:
    """Prove a dataset, or all; with `repair` what is wrong is collected again."""
    return launching.verify(context, asked)


@changing.post("/combine", status_code=202, responses=_CHANGES, tags=["runs"])
def combine(
    context: Given,
    tz: Zone = None,
    from_index: Index = None,
    to_index: Index = None,
    market: Market = None,
    pair: Pair = None,
) -> Started:
    """Put chunks into one Parquet file; nothing is written if nothing changed."""
    return launching.combine(context, market, pair, tz=tz, from_index=from_index, to_index=to_index)


@changing.post("/live", status_code=202, responses=_CHANGES, tags=["live"])
def go_live(context: Given, tz: Zone = None, market: Market = None, pair: Pair = None) -> Live:
    """Let live mode keep a dataset current; it is made if it does not exist, and the market's sensor turned on."""
    return launching.go_live(context, market, pair, tz)


@changing.delete("/live", status_code=202, responses=_CHANGES, tags=["live"])
def stop_live(context: Given, market: Market = None, pair: Pair = None) -> Live:
    """Let live mode leave a dataset as it is."""
    return launching.stop_live(context, market, pair)


@reading.get("/runs/{run_id}", responses=_READS | _problems(s404="There is no such run"), tags=["runs"])
def run(found: Found) -> Progress:
    """Where a run is, and what it has done."""
    return found


@reading.get(
    "/runs/{run_id}/events",
    response_class=EventSourceResponse,
    responses=_READS | _problems(s404="There is no such run"),
    tags=["runs"],
)
async def run_events(context: Given, found: Found) -> AsyncIterator[ServerSentEvent]:
    """The same each time that it changes, as server-sent events `progress`, and at the end one `end`."""
    last = None
    while True:
        if found != last:
            over = found.status in _OVER
            yield ServerSentEvent(event="end" if over else "progress", data=found)
            if over:
                return
            last = found
        await asyncio.sleep(_LOOKED_AT_EVERY_S)
        try:
            now = await run_in_threadpool(context.watch.look, found.run_id)
        except DagsterUnavailable as error:
            now = None
            # The webserver may be starting again; a browser would only ask the same.
            yield ServerSentEvent(event="waiting", data={"detail": str(error)})
            await asyncio.sleep(5 * _LOOKED_AT_EVERY_S)
        found = now or found


@changing.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    responses=_CHANGES | _problems(s404="There is no such run", s409="The run is over"),
    tags=["runs"],
)
def cancel(context: Given, found: Found) -> CancelRequested:
    """Ask a run to end; what it has finished is kept."""
    if found.status in _OVER:
        raise Problem(409, "The run is over", f"run {found.run_id} has ended; there is nothing to cancel")
    context.dagster.cancel(found.run_id)
    return CancelRequested(run_id=found.run_id, status_url=f"/runs/{found.run_id}")


@reading.get(
    "/status",
    response_model_exclude_unset=True,
    responses=_READS | _problems(s404="There is no such dataset"),
    tags=["store"],
)
def status(context: Given, market: Market = None, pair: Pair = None) -> list[Status]:
    """What is stored, from the manifests alone: one dataset if market or pair is given, else all."""
    target = target_of(context.settings, market, pair)
    try:
        return [Status.model_validate(status_json(one)) for one in statuses_of(context.settings, target)]
    except UsageError as error:
        if target.named:
            raise Problem(404, "There is no such dataset", str(error)) from error
        return []


@reading.get(
    "/health",
    responses={400: _READS[400], 503: {"model": Health, "description": "Something is not as it should be"}},
    tags=["store"],
)
def health(context: Given, response: Response) -> Health:
    """Whether a load could start now: data root, disk, Dagster, exchange; and whether live datasets are current."""
    found = context.vitals.look()
    response.status_code = 200 if found.ok else 503
    return found
