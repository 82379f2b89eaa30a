"""What every route works with.

Belongs here: the things the app is made of, and how a route gets them. Does not belong here: any logic.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from market_data_pipeline.api.catalog import Catalog
from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.progress import Watch
from market_data_pipeline.api.vitals import Vitals
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The settings, what is stored, the Dagster webserver that runs are started with, its runs, and how all is."""

    settings: Settings
    catalog: Catalog
    dagster: Dagster
    watch: Watch
    vitals: Vitals


def context_of(settings: Settings, dagster: Dagster) -> Context:
    """The context of an app. Nothing is asked yet."""
    return Context(settings, Catalog(store_of(settings)), dagster, Watch(dagster), Vitals(settings, dagster))


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]
