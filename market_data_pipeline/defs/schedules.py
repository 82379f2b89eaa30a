"""Schedules: the `proof` job runs every night.

Belongs here: when a job runs, and when a tick requests no run. Does not belong here: what the job does (`jobs`,
`checks`).
https://docs.dagster.io/guides/automate/schedules
"""

import dagster as dg

from market_data_pipeline.defs.jobs import PROOF
from market_data_pipeline.defs.resources import Tools


# One run for all datasets, one step each. The list of runs then has one line a night, one dataset is in memory at a
# time, and three of four run slots stay free. A step that fails does not stop the others.
@dg.schedule(
    job=PROOF,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    # On by default: hardly anything else reads old chunks, so damage to them would go unnoticed without it.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:17 UTC: evaluates all checks of all datasets. Every chunk is read and hashed.",
)
def nightly_proof(tools: dg.ResourceParam[Tools]) -> dg.RunRequest | dg.SkipReason:
    """Request one run if the store has a dataset, also if all of its chunks are lost.

    The request names no dataset. The run's process reads which datasets there are, so it includes new ones.
    """
    if not tools.store.dataset_files():
        return dg.SkipReason(f"There is no dataset in {tools.store.root} yet, so there is nothing to prove.")
    return dg.RunRequest()
