"""What Dagster does by the clock: the store proves itself every night.

Belongs here: when something is run, and when it is not worth a run. Does not belong here: what is run (`checks`).
https://docs.dagster.io/guides/automate/schedules
"""

import dagster as dg

from market_data_pipeline.defs.jobs import PROOF
from market_data_pipeline.defs.resources import Tools


# One run for all datasets, one step each: a line a night in the list of runs, one dataset in memory at a time, and
# three of four run slots left to others. Steps do not depend on each other, so one that fails hides no other's result.
@dg.schedule(
    job=PROOF,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    # On unless someone turns it off: damage at rest makes no noise, and a proof that nobody switched on finds none.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:17 UTC: all checks of all datasets, every chunk hashed and read again.",
)
def nightly_proof(tools: dg.ResourceParam[Tools]) -> dg.RunRequest | dg.SkipReason:
    """A run, if there is a dataset; one that lost all of its chunks is no reason to skip.

    The request names no dataset: the run's process looks for itself, and so finds those that are new, too.
    """
    if not tools.store.dataset_files():
        return dg.SkipReason(f"There is no dataset in {tools.store.root} yet, so there is nothing to prove.")
    return dg.RunRequest()
