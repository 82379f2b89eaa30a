"""The context: the objects that routes work with, made once per app.

Belongs here: which objects these are, and the dependency that hands them to a route. Does not belong here: any logic.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.datasets.catalog import Catalog
from market_data_pipeline.api.datasets.kept import KeptFile
from market_data_pipeline.api.datasets.proofs import ProofWatcher
from market_data_pipeline.api.datasets.summaries import Summaries
from market_data_pipeline.api.health import HealthCheck
from market_data_pipeline.api.metrics.page import MetricsPage, metrics_of_all
from market_data_pipeline.api.progress import RunWatcher
from market_data_pipeline.app.code_location import CodeLocation
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The settings, the datasets and their numbers, Dagster, its code location, checks and runs, health, metrics."""

    settings: Settings
    catalog: Catalog
    summaries: Summaries
    dagster: Dagster
    code_location: CodeLocation
    proof_watcher: ProofWatcher
    run_watcher: RunWatcher
    health_check: HealthCheck
    metrics: MetricsPage


def context_of(settings: Settings, dagster: Dagster) -> Context:
    """The context of an app. Reads no file and sends no request."""
    settings = settings.hurried()
    store = store_of(settings)
    catalog = Catalog(store)
    summaries = Summaries(catalog, KeptFile(settings.summaries, store.root))
    return Context(
        settings=settings,
        catalog=catalog,
        summaries=summaries,
        dagster=dagster,
        code_location=CodeLocation(store, dagster),
        proof_watcher=ProofWatcher(dagster),
        run_watcher=RunWatcher(dagster),
        health_check=HealthCheck(settings, dagster),
        metrics=metrics_of_all(settings, summaries, dagster),
    )


# Not a plain function: FastAPI would call it in the thread pool, where it waits while all threads are taken.
async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InjectedContext = Annotated[Context, Depends(_context)]
"""The type of a route's parameter that gets the app's context."""
