"""The context: the objects that routes work with, made once per app.

Belongs here: which objects these are, and the dependency that hands them to a route. Does not belong here: any logic.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from market_data_pipeline.api.catalog import Catalog
from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.health import HealthCheck
from market_data_pipeline.api.progress import RunWatcher
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The settings, the stored datasets, the Dagster webserver, the progress of its runs, and the health check."""

    settings: Settings
    catalog: Catalog
    dagster: Dagster
    run_watcher: RunWatcher
    health_check: HealthCheck


def context_of(settings: Settings, dagster: Dagster) -> Context:
    """The context of an app. Reads no file and sends no request."""
    return Context(settings, Catalog(store_of(settings)), dagster, RunWatcher(dagster), HealthCheck(settings, dagster))


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InjectedContext = Annotated[Context, Depends(_context)]
"""The type of a route's parameter that gets the app's context."""
