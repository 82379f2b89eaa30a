"""A job whose code says where it is, and goes on when it may; for tests of what happens to a run meanwhile.

Belongs here: the job, as a worker loads it. Does not belong here: what is tested with it (`test_worker_outages`).
The variable `STOPPING_JOB` names the folder through which a test talks to it; without it the job stops nowhere.
"""

import os
import time
from pathlib import Path

import dagster as dg

from market_data_pipeline.core.counting.counts import DAYS_FAILED
from market_data_pipeline.instance.logs import log_to

FOLDER = os.environ.get("STOPPING_JOB")


def stop_at(place: str) -> None:
    """Write the id of this process to a file, and wait while there is another one."""
    if FOLDER is None:
        return
    (Path(FOLDER) / f"{place}.pid").write_text(str(os.getpid()))
    while (Path(FOLDER) / f"{place}.waits").exists():
        time.sleep(0.1)


stop_at("load")


@dg.op
def count() -> None:
    """Count something for /metrics, as a load does."""
    if FOLDER is not None:
        log_to(Path(FOLDER))
    stop_at("step")
    DAYS_FAILED.add("spot", by=3)


@dg.job(executor_def=dg.in_process_executor)
def stopping() -> None:
    """The job."""
    count()
