"""Services: processes that are started, watched, started again and stopped, with what they print in files.

Belongs here: the life of a process and of what it started. Does not belong here: which services there are (`up`).
A service and all that it starts carry a mark in their environment, by which they are found even when the process that
started them is gone.
"""

import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

import psutil

MARK = "MARKET_DATA_SERVICE_OF"
"""The variable that services carry; its value says to whom they belong."""

_LOOK_EVERY_S, _LOOK_BELOW_EVERY_S = 0.3, 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONG_LIFE_S = 1.0, 30.0, 60.0
_SHORT_LIFE_S, _MOST_SHORT_LIVES = 10.0, 5
_MOST_BYTES, _KEPT_FILES, _KEPT_LINES = 5_000_000, 3, 12
# Windows has no SIGTERM for others, and sends Ctrl-Break to whole groups only.
if sys.platform == "win32":
    _END, _NEW_GROUP = signal.CTRL_BREAK_EVENT, subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _END, _NEW_GROUP = signal.SIGTERM, 0
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Service:
    """Python with some arguments; of no use if no process below it has the `worker`'s word on its command line."""

    name: str
    arguments: tuple[str, ...]
    worker: str | None = None


class Stopped(Exception):
    """The person, or the system, asked for the end."""


class ServiceFailed(Exception):
    """A service cannot be kept alive; `lines` are the last that it printed."""

    def __init__(self, message: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class Keeper:
    """Keeps services alive."""

    def __init__(
        self, environment: Mapping[str, str], logs: Path, stopping: threading.Event, warn: Callable[[str], None]
    ) -> None:
        """Nothing is started yet; `warn` is told of each death, in one line."""
        self._environment, self._logs, self._stopping, self._warn = environment, logs, stopping, warn
        self._kept: dict[str, _Kept] = {}

    def start(self, *services: Service) -> None:
        """Start services, to be kept alive from now on."""
        for service in services:
            self._kept[service.name] = _Kept(service, self._environment, self._logs / f"{service.name}.log")
            self._kept[service.name].start()

    def watch(self, until: Callable[[], bool] = lambda: False, within_s: float = float("inf")) -> None:
        """Keep all services alive until something is true.

        Raises:
            Stopped: the end was asked for.
            ServiceFailed: a service dies as soon as it is started, again and again, or it takes too long.
        """
        latest = time.monotonic() + within_s
        while not until():
            if self._stopping.wait(_LOOK_EVERY_S):
                raise Stopped
            for kept in self._kept.values():
                if death := kept.look():
                    self._warn(death)
            if time.monotonic() > latest:
                raise ServiceFailed(f"nothing answers after {within_s:.0f} s; the logs are in {self._logs}", ())

    def end(self, *names: str, within_s: float) -> None:
        """Ask these to end, and kill those that do not."""
        asked = [self._kept.pop(name) for name in names if name in self._kept]
        for kept in asked:
            kept.ask_to_end()
        psutil.wait_procs([kept.process for kept in asked if kept.process], timeout=within_s)
        for kept in asked:
            kept.kill()


class _Kept:
    """A service, its process if it has one now, and its log."""

    def __init__(self, service: Service, environment: Mapping[str, str], path: Path) -> None:
        self.process: psutil.Popen | None = None
        self._service, self._environment, self._path = service, environment, path
        self._log = RotatingFileHandler(path, maxBytes=_MOST_BYTES, backupCount=_KEPT_FILES, encoding="utf-8")
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._began = self._looked_below = self._due = 0.0
        self._had_worker = False
        self._pause_s, self._short_lives = _FIRST_PAUSE_S, 0

    def start(self) -> None:
        self._began = self._looked_below = time.monotonic()
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
            # Ctrl-C is for the keeper alone, which ends the services in their order.
            start_new_session=True,
            creationflags=_NEW_GROUP,
        )
        threading.Thread(target=self._note, args=(self.process.stdout,), daemon=True).start()

    def _note(self, lines: Iterable[str]) -> None:
        for line in lines:
            said = _COLORS.sub("", line.rstrip())
            self._last_lines.append(said)
            self._log.emit(logging.makeLogRecord({"msg": said}))

    def look(self) -> str | None:
        """Start the process again if it is time to; say so if it has died since the last look."""
        if self.process is None:
            if time.monotonic() >= self._due:
                self.start()
            return None
        code = self.process.poll()
        if code is None and self._has_its_worker():
            return None
        self.kill()
        return self._died(_in_words(code) if code is not None else "lost the process that does its work")

    def _has_its_worker(self) -> bool:
        now = time.monotonic()
        if self._service.worker is None or self.process is None or now < self._looked_below + _LOOK_BELOW_EVERY_S:
            return True
        self._looked_below = now
        has = any(self._service.worker in " ".join(_command_of(one)) for one in _below(self.process))
        self._had_worker |= has
        return has or not self._had_worker

    def _died(self, how: str) -> str:
        lived_s = time.monotonic() - self._began
        self._short_lives = self._short_lives + 1 if lived_s < _SHORT_LIFE_S else 0
        if self._short_lives == _MOST_SHORT_LIVES:
            what = f"{self._service.name} cannot be started: {_MOST_SHORT_LIVES} times it {how} at once"
            raise ServiceFailed(f"{what}; its log is {self._path}", self._last_lines)
        if lived_s > _LONG_LIFE_S:
            self._pause_s = _FIRST_PAUSE_S
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._due = time.monotonic() + pause_s
        return f"{self._service.name} {how}, is started again in {pause_s:.0f} s; its log is {self._path}"

    def ask_to_end(self) -> None:
        if self.process and self.process.poll() is None:
            with suppress(OSError, psutil.NoSuchProcess):
                self.process.send_signal(_END)

    def kill(self) -> None:
        """End the process now. What it started is left to `end_marked`: runs may go on without it."""
        if self.process:
            with suppress(OSError, psutil.NoSuchProcess):
                self.process.kill()
            self.process.wait()
            self.process = None


def _in_words(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def end_marked(value: str, within_s: float) -> int:
    """End every process that carries the mark with this value, and say how many there were."""
    members = list(_marked(value))
    for member in members:
        with suppress(psutil.Error):
            member.terminate()
    _, alive = psutil.wait_procs(members, timeout=within_s)
    for member in alive:
        with suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(alive, timeout=within_s)
    return len(members)


def _marked(value: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        # Other people's processes do not show their environment.
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == value:
                yield process


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that is set when the end is asked for: Ctrl-C, SIGTERM, a closed terminal. Asking twice interrupts."""
    stopping = threading.Event()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # `nohup` means that a closed terminal is no reason to end. An ignored Ctrl-C would be ignored by all services too,
    # and some of them would take SIGTERM for the same.
    heard = [number for number in numbers if number == signal.SIGINT or before[number] != signal.SIG_IGN]

    def stop(*_: object) -> None:
        for number in heard:
            signal.signal(number, signal.default_int_handler)
        stopping.set()

    for number in heard:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number in heard:
            signal.signal(number, before[number])
