"""The job `prune_runs` and its schedule: runs that have ended long ago are deleted from Dagster.

Belongs here: how old a run has to be, and when that is looked at. Does not belong here: deleting it
(`instance.retention`).
https://docs.dagster.io/guides/automate/schedules
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import PRUNE_JOB, PRUNE_OP
from market_data_pipeline.instance.retention import has_old_runs, prune


class PruneConfig(dg.Config):
    """Which runs to delete."""

    kept_days: int | None = Field(
        default=None, ge=1, description="how many days a run is kept after its end; MARKET_DATA_RUNS_KEPT_DAYS if unset"
    )


@dg.op(name=PRUNE_OP, description="Deletes old runs with their events and logs. Days stay shown as stored.")
def delete_old_runs(
    context: dg.OpExecutionContext, config: PruneConfig, tools: dg.ResourceParam[Tools]
) -> dg.Output[None]:
    """Delete the runs that ended before the last so many days.

    Raises:
        UsageError: all runs are kept, or the storage would forget days with them.
    """
    log_to(tools.logs)
    kept_days = config.kept_days or tools.runs_kept_days
    if not kept_days:
        raise UsageError("MARKET_DATA_RUNS_KEPT_DAYS is 0, so all runs are kept; give kept_days in the run config")
    pruned = prune(context.instance, datetime.now(UTC) - timedelta(days=kept_days))
    ended = f"ended more than {count_text(kept_days, 'day')} ago"
    context.log.info(f"{count_text(pruned.runs, 'run')} deleted that {ended}")
    return dg.Output(None, metadata={"runs": pruned.runs, "kept_days": kept_days, "leftovers": pruned.leftovers})


@dg.job(
    name=PRUNE_JOB,
    executor_def=dg.in_process_executor,
    description="Deletes runs that have ended long ago, with their events and logs. No stored day is forgotten.",
)
def prune_job() -> None:
    """Run `delete_old_runs`."""
    delete_old_runs()


@dg.schedule(
    job=prune_job,
    cron_schedule="47 4 * * *",
    execution_timezone="UTC",
    # On by default: without it the database of a home that is left alone grows until the disk is full.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 04:47 UTC: deletes the runs that are older than MARKET_DATA_RUNS_KEPT_DAYS.",
)
def daily_prune(context: dg.ScheduleEvaluationContext, tools: dg.ResourceParam[Tools]) -> dg.RunRequest | dg.SkipReason:
    """Request one run if there is a run to delete."""
    if not tools.runs_kept_days:
        return dg.SkipReason("MARKET_DATA_RUNS_KEPT_DAYS is 0: all runs are kept.")
    if not has_old_runs(context.instance, datetime.now(UTC) - timedelta(days=tools.runs_kept_days)):
        return dg.SkipReason(f"No run has ended more than {count_text(tools.runs_kept_days, 'day')} ago.")
    return dg.RunRequest()
