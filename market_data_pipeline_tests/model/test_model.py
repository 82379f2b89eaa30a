"""Random sequences of commands leave a store that has what the exchange said, in a folder and in a bucket.

`MARKET_DATA_MODEL_SEQUENCES` is how many sequences are run in all, of up to 12 commands each. They are the same for
the same `MARKET_DATA_MODEL_SEED`.
"""

import logging
import os
import tempfile
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline_tests.model.machine import StoreMachine
from market_data_pipeline_tests.places import in_memory

SEQUENCES = int(os.environ.get("MARKET_DATA_MODEL_SEQUENCES", "2000"))
SEED = int(os.environ.get("MARKET_DATA_MODEL_SEED", "17"))
COMMANDS = 12
# With a day of 23 hours, one of 25 hours, and a midnight that is no full hour of UTC.
DAYS = {
    "UTC": date(2024, 2, 27),
    "Europe/Zurich": date(2024, 3, 28),
    "America/New_York": date(2024, 10, 31),
    "Asia/Kathmandu": date(2023, 12, 30),
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", ["folder", "memory"])
@pytest.mark.parametrize("zone", DAYS)
def test_the_store_has_what_was_said(zone: str, place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # of thousands of days that fail on purpose

    def new_root() -> Any:
        return in_memory() if place == "memory" else Path(tempfile.mkdtemp(dir=tmp_path, prefix=uuid.uuid4().hex))

    model = type(
        "Model",
        (StoreMachine,),
        {"zone": parse_zone(zone), "first_day": DAYS[zone], "new_root": staticmethod(new_root)},
    )
    run_state_machine_as_test(
        seed(SEED)(model),
        settings=settings(
            max_examples=SEQUENCES // (2 * len(DAYS)),
            stateful_step_count=COMMANDS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
