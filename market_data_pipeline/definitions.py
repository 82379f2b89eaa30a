"""The code location that Dagster loads: every dataset of the data root.

Reload it to see a new dataset.
"""

import warnings

import dagster as dg

from market_data_pipeline.defs.location import datasets_of, location_of
from market_data_pipeline.defs.resources import tools_of
from market_data_pipeline.settings import Settings

# Used on purpose; code servers and run workers would print it for each dataset.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """Built when Dagster asks, from the settings of the environment."""
    settings = Settings()
    tools = tools_of(settings)
    return location_of(datasets_of(tools.store, settings), tools)
