"""One service: a Python process that is started, looked at, started again and ended, and the log of what it prints.

Belongs here: the life of one process, and the pauses between its restarts. Does not belong here: several services
(`supervisor`), which services there are (`up`), what a service leaves behind (`marks`).
"""

import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

import psutil

from market_data_pipeline.instance.logs import WarnsOnce

_CHECK_WORKER_EVERY_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONG_LIFE_S = 1.0, 30.0, 60.0
_SHORT_LIFE_S, _MOST_SHORT_LIVES = 10.0, 5
_LOG_BYTES, _OLD_LOGS, _LAST_LINES = 5_000_000, 3, 12
# Windows cannot send SIGTERM to another process, and sends Ctrl-Break to whole process groups only.
if sys.platform == "win32":
    _STOP_SIGNAL, _NEW_GROUP = signal.CTRL_BREAK_EVENT, subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _STOP_SIGNAL, _NEW_GROUP = signal.SIGTERM, 0
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


class _ServiceLog(WarnsOnce, RotatingFileHandler):
    pass


@dataclass(frozen=True, slots=True)
class Service:
    """A Python command that is to be kept running.

    `worker` is a word on the command line of the child process that does the service's work: a service that has lost
    that child counts as dead. None for a service that does its work itself.
    """

    name: str
    arguments: tuple[str, ...]
    worker: str | None = None


class ServiceFailed(Exception):
    """A service cannot be kept running; `lines` are the last ones that it printed."""

    def __init__(self, message: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class ServiceProcess:
    """The process of a service, restarted with growing pauses, and its rotating log."""

    def __init__(self, service: Service, environment: Mapping[str, str], log: Path) -> None:
        """Do not start the process yet.

        Args:
            service: the command.
            environment: all environment variables of the process.
            log: the file that its output is written to.
        """
        self.process: psutil.Popen | None = None
        self._service, self._environment, self._log_path = service, environment, log
        self._log = _ServiceLog(log, maxBytes=_LOG_BYTES, backupCount=_OLD_LOGS, encoding="utf-8")
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._started_at = self._worker_checked_at = self._restart_at = 0.0
        self._had_worker = False
        self._pause_s, self._short_lives = _FIRST_PAUSE_S, 0

    def start(self) -> None:
        """Start the process."""
        self._started_at = self._worker_checked_at = time.monotonic()
        self._had_worker = False
        self._last_lines.clear()
        self.process = psutil.Popen(
            [sys.executable, *self._service.arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C reaches the supervisor alone, which ends the services in their order.
            start_new_session=True,
            creationflags=_NEW_GROUP,
        )
        threading.Thread(target=self._log_lines, args=(self.process.stdout,), daemon=True).start()

    def check(self) -> str | None:
        """Notice that the process died, or start it again once its pause is over.

        Returns:
            How it died and when it is started again, in one line; None if it did not die since the last call.

        Raises:
            ServiceFailed: it died within seconds of its start, several times in a row.
        """
        if self.process is None:
            if time.monotonic() >= self._restart_at:
                self.start()
            return None
        code = self.process.poll()
        if code is None and self._has_worker():
            return None
        self.kill()
        return self._schedule_restart("lost the process that does its work" if code is None else _ending(code))

    def ask_to_end(self) -> None:
        """Send the process the signal to stop; do not wait for it."""
        if self.process and self.process.poll() is None:
            with suppress(OSError, psutil.NoSuchProcess):
                self.process.send_signal(_STOP_SIGNAL)

    def kill(self) -> None:
        """End the process now. Processes that it started go on: runs may finish without it, `end_marked` ends them."""
        if self.process:
            with suppress(OSError, psutil.NoSuchProcess):
                self.process.kill()
            self.process.wait()
            self.process = None

    def _log_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            text = _COLORS.sub("", line.rstrip())
            self._last_lines.append(text)
            self._log.emit(logging.makeLogRecord({"msg": text}))

    def _has_worker(self) -> bool:
        """Whether the worker runs, or has not been started yet; True between two checks."""
        now = time.monotonic()
        if (
            self._service.worker is None
            or self.process is None
            or now < self._worker_checked_at + _CHECK_WORKER_EVERY_S
        ):
            return True
        self._worker_checked_at = now
        commands = [_command_of(child) for child in _children_of(self.process)]
        has = any(self._service.worker in command for command in commands if command)
        self._had_worker |= has
        return has or not self._had_worker or None in commands

    def _schedule_restart(self, ending: str) -> str:
        lived_s = time.monotonic() - self._started_at
        self._short_lives = self._short_lives + 1 if lived_s < _SHORT_LIFE_S else 0
        if self._short_lives == _MOST_SHORT_LIVES:
            often = f"within {_SHORT_LIFE_S:.0f} s, {_MOST_SHORT_LIVES} times in a row"
            message = f"{self._service.name} cannot be started: it {ending} {often}; its log is {self._log_path}"
            raise ServiceFailed(message, self._last_lines)
        if lived_s > _LONG_LIFE_S:
            self._pause_s = _FIRST_PAUSE_S
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._restart_at = time.monotonic() + pause_s
        return f"{self._service.name} {ending} and is started again in {pause_s:.0f} s; its log is {self._log_path}"


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except (psutil.Error, OSError):
        return []


def _command_of(process: psutil.Process) -> str | None:
    """The words of the process; None if they cannot be read now, as of one that begins or ends on Windows."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
    except (psutil.Error, OSError):
        return None
