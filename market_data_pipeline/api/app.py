"""The app: routes, pages, errors and the guard around them.

Belongs here: putting the parts together. Does not belong here: the parts. Who serves it: `market-data serve`.
"""

from collections.abc import Sequence

from fastapi import FastAPI

from market_data_pipeline import __version__
from market_data_pipeline.api.context import context_of
from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.pages.browse import router as browse
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
        public_dagster_url: where a person's browser finds it, if that is elsewhere.
        hosts: the names, beside this machine's own, under which the app may be called; None for any name.
    """
    app = FastAPI(
        title="market_data_pipeline",
        version=__version__,
        summary="A verified, resumable, local store of Binance 1-minute klines.",
        description="Changing requests start Dagster runs and answer 202 with the run's id. Errors are problem "
        "details, RFC 9457. Where MARKET_DATA_API_TOKEN is set, changing requests need it as a bearer token.",
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
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
