"""Services that are kept running together, and ended in a chosen order.

Belongs here: watching several services, and how long to wait for them. Does not belong here: the life of one process
(`process`), which services there are (`up`).
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from market_data_pipeline.services.process import Service, ServiceFailed, ServiceProcess

_CHECK_EVERY_S = 0.3


class StopRequested(Exception):
    """A signal to stop arrived."""


class Supervisor:
    """Keeps services running until it is asked to stop."""

    def __init__(
        self, environment: Mapping[str, str], logs: Path, stopping: threading.Event, warn: Callable[[str], None]
    ) -> None:
        """Do not start anything yet.

        Args:
            environment: all environment variables of the services.
            logs: the folder of their logs, `NAME.log` each.
            stopping: set when the services are to be ended.
            warn: called with one line for each process that dies.
        """
        self._environment, self._logs, self._stopping, self._warn = environment, logs, stopping, warn
        self._processes: dict[str, ServiceProcess] = {}

    def start(self, *services: Service) -> None:
        """Start services. They are kept running during `watch`."""
        for service in services:
            process = ServiceProcess(service, self._environment, self._logs / f"{service.name}.log")
            self._processes[service.name] = process
            process.start()

    def watch(self, until: Callable[[], bool] = lambda: False, within_s: float = float("inf")) -> None:
        """Restart what dies, until `until` returns True.

        Raises:
            StopRequested: `stopping` was set.
            ServiceFailed: a service dies again and again as soon as it is started, or `until` was not True in time.
        """
        deadline = time.monotonic() + within_s
        while not until():
            if self._stopping.wait(_CHECK_EVERY_S):
                raise StopRequested
            for process in self._processes.values():
                if death := process.check():
                    self._warn(death)
            if time.monotonic() > deadline:
                raise ServiceFailed(f"no service listens after {within_s:.0f} s; the logs are in {self._logs}", ())

    def end(self, *names: str, within_s: float) -> None:
        """Ask these services to end, and kill those that still run after `within_s` seconds."""
        ending = [self._processes.pop(name) for name in names if name in self._processes]
        for process in ending:
            process.ask_to_end()
        psutil.wait_procs([each.process for each in ending if each.process], timeout=within_s)
        for process in ending:
            process.kill()
