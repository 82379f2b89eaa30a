"""Schedules: the `proof` job runs every night.

Belongs here: when a job runs, and when a tick requests no run. Does not belong here: what the job does (`jobs`,
`checks`).
https://docs.dagster.io/guides/automate/schedules
"""

import dagster as dg

from market_data_pipeline.defs.proof.job import proof_job
from market_data_pipeline.defs.resources import Tools


# One run with one step for all datasets: the list of runs has one line a night, and three of four run slots stay free.
@dg.schedule(
    job=proof_job,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    # On by default: hardly anything else reads old chunks, so damage to them would go unnoticed without it.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:17 UTC: evaluates all checks of all datasets. New chunks are read, others in turns.",
)
def nightly_proof(tools: dg.ResourceParam[Tools]) -> dg.RunRequest | dg.SkipReason:
    """Request one run if the store has a dataset, also if all of its chunks are lost.

    The request names no dataset. The run reads which datasets there are, so it includes new ones.
    """
    if not tools.store.dataset_files():
        return dg.SkipReason(f"There is no dataset in {tools.store.root} yet, so there is nothing to prove.")
    return dg.RunRequest()
