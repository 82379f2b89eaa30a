"""`dg`, the command line for Dagster projects, as a process; skipped where it is not installed.

Does not belong here: any assertion about the project.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.support import CHECKOUT

needs_dg = pytest.mark.skipif(importlib.util.find_spec("dagster_dg_cli") is None, reason="dagster-dg-cli is missing")


def dg(*arguments: str, project: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run `dg` in the folder of a project, with no settings but these."""
    unset = {name.upper() for name in Settings.model_fields}
    env = {name: value for name, value in os.environ.items() if name not in unset} | {
        "PYTHONPATH": os.pathsep.join([str(project / "src"), str(CHECKOUT)]),
        "PYTHONUTF8": "1",
        "COLUMNS": "200",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "dagster_dg_cli.cli", *arguments],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=240,
    )
