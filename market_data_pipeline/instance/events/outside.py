"""The error for which a run failed: without those of Dagster around it, and of a run that ended before its first step.

Belongs here: which of several errors that is. Does not belong here: the failures of a run (`defs.alerts.news`,
`instance.queue.states`, `instance.runs`).
"""

from dagster import DagsterEventType, DagsterInstance
from dagster_shared.error import SerializableErrorInfo

_FROM_OUTSIDE = "has been marked as failed from outside the execution context"


def without_dagsters(error: SerializableErrorInfo) -> SerializableErrorInfo:
    """The error that those of Dagster wrap."""
    while error.cause and str(error.cls_name).startswith("Dagster"):
        error = error.cause
    return error


def message_of(error: SerializableErrorInfo) -> str:
    """The message of that error in one line, without the name of its class, which Dagster puts before it."""
    message = " ".join(without_dagsters(error).message.split())
    return message.partition(": ")[2] or message


def error_before_steps(instance: DagsterInstance, run_id: str, message: str | None) -> SerializableErrorInfo | None:
    """The error for which Dagster ended the run, as of code that cannot be loaded; None if it tells none.

    Args:
        instance: where the events of the run are.
        run_id: the run.
        message: what the event of the failure says; where it gives a reason, that counts.
    """
    if _FROM_OUTSIDE not in (message or ""):
        return None
    error = None  # Dagster has it in an event of its own, beside the failure
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        if entry.dagster_event and (found := entry.dagster_event.engine_event_data.error):
            error = found
    return without_dagsters(error) if error else None
