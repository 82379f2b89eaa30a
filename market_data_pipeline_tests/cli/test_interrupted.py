"""An interrupted command ends with exit code 130, wherever in Python the interrupt came."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline_tests.support import CHECKOUT, MarketData, Simulate

PROGRAM = """
from market_data_pipeline.cli.outcome import errors_in_one_line, keep_interrupted_code

keep_interrupted_code()
with errors_in_one_line():
    {}
"""


@pytest.mark.parametrize("where", ["raise KeyboardInterrupt", 'exec("raise KeyboardInterrupt")'])
def test_the_exit_code_is_130_also_where_a_class_was_made_from_a_text(tmp_path: Path, where: str) -> None:
    (tmp_path / "interrupted.py").write_text(PROGRAM.format(where), encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(CHECKOUT)])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("error: interrupted; ")
    assert len(done.stderr.splitlines()) == 1


def test_an_interrupt_of_the_tests_is_no_result_of_a_command(
    market_data: Callable[..., MarketData], simulate: Simulate
) -> None:
    running, before = simulate(), signal.getsignal(signal.SIGINT)

    def interrupt_once(_: RequestInfo) -> None:
        running.exchange.hooks.clear()
        signal.raise_signal(signal.SIGINT)  # in the thread of the exchange; Python lets that of the tests hear it

    running.exchange.hooks.append(interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        market_data(running)("--market", "spot", "pairs")
    assert signal.getsignal(signal.SIGINT) == before
