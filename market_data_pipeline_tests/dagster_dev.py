"""A real Dagster webserver and daemon for tests: `dagster dev` on a data root of its own.

Does not belong here: any assertion about the project.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.settings import Settings
from market_data_pipeline_tests.support import PATIENCE

CHECKOUT = Path(__file__).parents[1]
_PATIENCE_S = 180 * PATIENCE


@dataclass(frozen=True)
class Ui:
    """A running UI, and the command line that works on the same data root and Dagster instance."""

    url: str
    env: dict[str, str]
    log: Path

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        (content,) = answer["data"].values()
        return content

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "market_data_pipeline", *arguments]
        return subprocess.run(
            command, env=self.env, cwd=CHECKOUT, capture_output=True, text=True, encoding="utf-8", check=False
        )


def wait_for(what: Callable[[], Any], log: Path) -> Any:
    """Ask until there is an answer."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if answer := what():
            return answer
        time.sleep(0.5)
    pytest.fail(f"nothing after {_PATIENCE_S} s; dagster dev said:\n{log.read_text(errors='replace')[-5000:]}")


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[None]:
    """Run a command, and end it and everything that it started."""
    started = psutil.Popen(command, **options)
    try:
        yield
    finally:
        family = [started]
        with suppress(psutil.NoSuchProcess):
            family += started.children(recursive=True)
        end(family, psutil.Process.terminate)
        end(family, psutil.Process.kill)


def end(family: list[psutil.Process], how: Callable[[psutil.Process], None]) -> None:
    for member in family:
        with suppress(psutil.NoSuchProcess):
            how(member)
    psutil.wait_procs(family, timeout=10)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/server_info", timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def dagster_dev(root: Path, **settings: str) -> Iterator[Ui]:
    """`make dev` with a data root under `root` and nothing of the tester's settings."""
    home, port = root / "dagster", free_port()
    unset = {name.upper() for name in Settings.model_fields}
    env = {name: value for name, value in os.environ.items() if name not in unset} | {
        "DAGSTER_HOME": str(home),
        "MARKET_DATA_DIR": str(root / "data"),
        "LOG_DIR": str(root / "logs"),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
        **settings,
    }
    prepare_home(home)
    log = root / "dev.log"
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(CHECKOUT / "workspace.yaml"), "-p", str(port)]
    with (
        log.open("ab") as output,
        process(command, cwd=home, env=env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL),
    ):
        running = Ui(f"http://127.0.0.1:{port}", env, log)
        wait_for(lambda: answers(running.url), log)
        yield running
