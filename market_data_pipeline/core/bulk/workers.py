"""Work for many processes: a function that yields messages is called for one argument after the other, in each.

Belongs here: starting processes, handing out arguments, passing messages on, processes that die. Does not belong here:
what the work is (`load`, `prove`).

The standard library's pools return one result for each call, and end all work when a process dies. Here a process that
dies takes only the argument that it was working on with it, and another one is started in its place. A process ends
when the one that started it is gone, however that ended.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

Argument = TypeVar("Argument")
# A new process, not a copy of this one: Windows has no other, and this one has threads and open databases.
_context = multiprocessing.get_context("spawn")
_LONGEST_END_S = 10


@dataclass(frozen=True, slots=True)
class Died:
    """The last message about an argument whose process died, and how that ended: `was killed by signal 9`."""

    how: str


@dataclass(slots=True)
class _Worker(Generic[Argument]):
    """A process, this side of its pipe, and the argument that it works on."""

    process: SpawnProcess
    pipe: Any
    argument: Argument


def stream(
    function: Callable[[Argument], Iterable[Any]], arguments: Iterable[Argument], *, processes: int
) -> Generator[tuple[Argument, Any]]:
    """Yield each message with the argument it is about, as it comes: those of one argument in order.

    Args:
        function: called in the processes; it, the arguments and the messages must be picklable. It should raise no
            error: one that it does raise ends its process.
        arguments: handed out in order, none of them None. Each is asked for when a process is free to work on it.
        processes: how many work at once.

    Raises:
        OSError: no process can be started.
    """
    left = iter(arguments)
    working: dict[Any, _Worker[Argument]] = {}
    try:
        while len(working) < processes and (argument := next(left, None)) is not None:
            worker = _started(function, argument)
            working[worker.pipe] = worker
        while working:
            for pipe in wait(list(working)):
                worker = working[pipe]
                try:
                    is_message, message = worker.pipe.recv()
                except (EOFError, OSError):
                    del working[pipe]
                    yield worker.argument, Died(_ended(worker))
                    if (argument := next(left, None)) is not None:
                        worker = _started(function, argument)
                        working[worker.pipe] = worker
                    continue
                if is_message:
                    yield worker.argument, message
                elif (argument := next(left, None)) is not None:
                    worker.argument = argument
                    with suppress(OSError):  # it has died while it waited; the next look at the pipe says so
                        worker.pipe.send(worker.argument)
                else:
                    del working[pipe]
                    _ended(worker)
    finally:
        for worker in working.values():
            worker.process.terminate()
        for worker in working.values():
            _ended(worker)


def _started(function: Callable[[Argument], Iterable[Any]], argument: Argument) -> _Worker[Argument]:
    here, there = _context.Pipe()
    # Not daemonic: such processes may not start any themselves.
    process = _context.Process(target=_work, args=(function, there, argument), name="market-data-worker")
    with _ctrl_c_held():
        process.start()
    there.close()  # with it open here, the end of the process would not be seen
    return _Worker(process, here, argument)


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back in the block, and from a process that is started in it as long as that lives.

    Ctrl-C reaches every process of a terminal. Python needs a second before a new one can ignore it, and one whose
    arguments do not arrive prints a traceback.
    """
    held: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # no other thread may set a handler, or hears it
    if is_main:
        signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        with _masked({signal.SIGINT}):
            yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)
        for number in held[:1]:
            signal.raise_signal(number)


@contextmanager
def _masked(signals: set[signal.Signals]) -> Iterator[None]:
    """Mask signals in this thread, and in processes that it starts. Windows has no such mask."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # with the first process, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended(worker: _Worker[Argument]) -> str:
    """Wait for the process, which is at its end, and say how it ended."""
    worker.pipe.close()
    worker.process.join(_LONGEST_END_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    code = worker.process.exitcode
    return f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"


def _work(function: Callable[[Argument], Iterable[Any]], pipe: Connection, argument: Argument) -> None:
    # Ctrl-C reaches every process of the terminal. The one that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            # What is imported stays. The collector would go through it again and again, for 5 % of a load's CPU.
            gc.collect()
            gc.freeze()
            for message in function(argument):
                pipe.send((True, message))
            pipe.send((False, None))
            argument = pipe.recv()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # at once: what is on disk is whole at any moment
