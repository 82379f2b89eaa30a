"""A power cut at any moment: what was promised is there, nothing is wrong, and the next command heals.

The states of each scenario are those of `cuts` and `objects`. `make power-loss` tries many more of them.
"""

import os
import subprocess
import sys

import pytest

from market_data_pipeline_tests.powerloss import scenarios
from market_data_pipeline_tests.powerloss.objects import ObjectPlan, object_loss
from market_data_pipeline_tests.powerloss.replaying import Plan, power_loss
from market_data_pipeline_tests.support import CHECKOUT

FEW, FEW_OF_OBJECTS = Plan(most=4, most_after_kill=1, healed_each=20, kills=2), ObjectPlan(crashes=4, late=1, lost=1)
# It has many more operations than the others.
FEW_OF_LIVE = Plan(most=2, most_after_kill=1, healed_each=40, kills=1)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no sync of a folder")]


@pytest.mark.parametrize("name", scenarios.ALL)
def test_what_was_promised_outlives_a_power_cut(name: str) -> None:
    counts = power_loss(name, FEW_OF_LIVE if name == scenarios.Live.name else FEW)
    assert counts.problems == []
    assert counts.states > 20


@pytest.mark.parametrize("name", ["load", "moved start", "repair", "combine"])
def test_what_was_promised_outlives_crashes_lost_answers_and_late_writes_of_a_bucket(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = object_loss(name, FEW_OF_OBJECTS, set_variable=monkeypatch.setenv)
    assert counts.problems == []
    assert counts.states >= 3


def test_no_file_is_changed_in_a_way_that_is_not_recorded() -> None:
    command = [sys.executable, "-m", "market_data_pipeline_tests.powerloss.escapes"]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_promise_is_broken_by_any_of_many_thousand_cuts() -> None:
    command = [sys.executable, "-m", "market_data_pipeline_tests.powerloss"]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=3600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
