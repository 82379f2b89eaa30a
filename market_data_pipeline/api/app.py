"""The FastAPI app: routes, pages, static files, error handlers and the middleware that guards them.

Belongs here: putting these parts together. Does not belong here: the parts. `market-data serve` serves the app.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI

from market_data_pipeline import __version__
from market_data_pipeline.api.context import Context, context_of
from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.pages.browse import router as browse
from market_data_pipeline.api.pages.rendering import prepare
from market_data_pipeline.api.pages.static import static_files
from market_data_pipeline.api.problems import ProblemDetails, handle_all
from market_data_pipeline.api.routes import changing, reading
from market_data_pipeline.api.security import Guard
from market_data_pipeline.settings import Settings


def create_app(
    settings: Settings,
    *,
    dagster_url: str,
    public_dagster_url: str | None = None,
    hosts: Sequence[str] | None = None,
) -> FastAPI:
    """The app of a data root.

    Args:
        settings: the settings.
        dagster_url: the Dagster webserver that runs are started with.
        public_dagster_url: the address of the webserver for links in a person's browser; `dagster_url` if None.
        hosts: the names, beside this machine's own, under which the app may be called; None for any name.
    """
    app = FastAPI(
        title="market_data_pipeline",
        version=__version__,
        summary="A verified, resumable, local store of Binance 1-minute klines.",
        description="Requests that change something start Dagster runs; the response is 202 with the run's id. Errors "
        "are problem details, RFC 9457. Where MARKET_DATA_API_TOKEN is set, these requests need it as a bearer token.",
        # FastAPI's pages of the OpenAPI document load scripts from other hosts. The document is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        lifespan=_served,
    )
    app.state.context = context_of(settings, Dagster(dagster_url, public_url=public_dagster_url))
    handle_all(app)
    app.include_router(reading)
    app.include_router(changing)
    app.include_router(browse)
    app.mount("/static", static_files(), "static")
    app.add_middleware(Guard, hosts=hosts)
    _complete_document(app, token_needed=settings.market_data_api_token is not None)
    return app


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[None]:
    """Get ready for the first page. While the app is served, datasets of other programs appear in Dagster."""
    context: Context = app.state.context
    prepare()
    with context.summaries.read_ahead(), context.code_location.followed():
        yield


def _complete_document(app: FastAPI, *, token_needed: bool) -> None:
    """Add to the OpenAPI document what FastAPI leaves out: problem details, and whether the token is optional."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    described = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= described.pop("$defs") | {"ProblemDetails": described}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            if "security" in operation and not token_needed:
                operation["security"].append({})
    app.openapi_schema = document
