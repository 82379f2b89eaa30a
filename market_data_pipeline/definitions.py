"""The code location that Dagster loads: definitions of every dataset of the data root.

Dagster shows a new dataset after the code location has been reloaded, which `app.code_location` sees to.
"""

import gc

import dagster as dg

from market_data_pipeline.api.metrics.server import serve_metrics
from market_data_pipeline.defs.location import datasets_of, location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.settings import load

# A thousand datasets are millions of objects, which stay. At the default threshold the collector goes through them so
# often that loading takes a third longer. The command line sets the same.
gc.set_threshold(50_000)


@dg.definitions
def defs() -> dg.Definitions:
    """Make the definitions from the environment's settings, each time Dagster loads the code location.

    Raises:
        UsageError: an environment variable has a value that its setting cannot have.
    """
    settings = load()
    serve_metrics(settings)
    tools = tools_of(settings)
    return location_of(datasets_of(tools.store, settings), tools)
