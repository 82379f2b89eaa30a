"""How a command ends: its exit code, and the one line that it prints for an error.

Belongs here: what all commands share. Does not belong here: the commands (`data_commands`, `service_commands`).
"""

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from market_data_pipeline.instance.runs import RunReport
    from market_data_pipeline.settings import Settings

# The last two are those of a shell for a program that SIGINT or SIGPIPE ended.
FAILED, WRONG_USAGE, NOT_NOW, INTERRUPTED, NOT_READ = 1, 2, 3, 130, 141
EXIT_CODES = (
    f"Exit codes: 0 good; {FAILED} the data is not as it should be; {WRONG_USAGE} wrong usage; {NOT_NOW} it could not "
    f"be done now, because of the exchange, the network or the disk; {INTERRUPTED} interrupted; {NOT_READ} nobody "
    "reads the output any more."
)


_interrupted = threading.Event()


def keep_interrupted_code() -> None:
    """Let an interrupted command end with its exit code. Called first of all, as what is registered then runs last.

    `python -m` ends by the signal itself if Ctrl-C came while Python made a class from a text, as imports do for each
    dataclass, although the interrupt was caught.
    """
    atexit.register(_end_if_interrupted)


def _end_if_interrupted() -> None:
    if _interrupted.is_set():
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(INTERRUPTED)


def load_settings(**options: str | None) -> "Settings":
    """The settings of the environment, replaced by the options of the same name that are not None."""
    from market_data_pipeline.settings import load

    return load(**options)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn an expected error of the block into one line on stderr and an exit code."""
    from market_data_pipeline.core.errors import MarketDataError

    with ends_unread():
        try:
            yield
        except MarketDataError as error:
            fail(str(error), _code_of(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            from market_data_pipeline.core.text import refusal_of_disk  # imports rich, for which a shell would wait

            fail(refusal_of_disk(error), NOT_NOW)
        except KeyboardInterrupt:
            fail("interrupted; finished work is kept, run the same command again to continue", INTERRUPTED)


@contextmanager
def ends_unread() -> Iterator[None]:
    """Exit without a line if the reader of stdout or stderr goes away in the block, as after `| head -1`."""
    try:
        yield
    except BrokenPipeError:
        _to_nowhere(sys.stdout, sys.stderr)
        sys.exit(NOT_READ)


def _to_nowhere(*streams: TextIO) -> None:
    """Drop what is left in the streams. Python writes it at its end, where a failure is a traceback and code 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError):  # it is no file
            os.dup2(nowhere, stream.fileno())


def _code_of(error: Exception) -> int:
    from market_data_pipeline.core.errors import PASSING, UsageError

    if isinstance(error, UsageError):
        return WRONG_USAGE
    return NOT_NOW if isinstance(error, PASSING) else FAILED


def fail(message: str, code: int) -> NoReturn:
    """Print the error in one line on stderr, and exit with the code."""
    if code == INTERRUPTED:
        _interrupted.set()
        # What is left is closing. Another Ctrl-C in it would be a traceback.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        warn(f"error: {' '.join(message.split())}")
    except BrokenPipeError:
        raise
    except OSError:
        pass  # the disk takes it not, so the code alone tells
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _to_nowhere(stream)
    sys.exit(code)


def fail_unless_run(report: "RunReport") -> None:
    """Exit with the error of a run that failed."""
    if report.error or not report.success:
        fail(report.error or "the run failed", NOT_NOW if report.may_pass else FAILED)


def leave_at_once(ok: bool) -> NoReturn:
    """Exit with code 0 or 1 without a wait for threads that do not end, such as one that looks at a dead disk."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0 if ok else FAILED)


def say(message: str) -> None:
    """Print a line on stdout and flush it."""
    print(message, flush=True)  # noqa: T201


def warn(message: str) -> None:
    """Print a line on stderr and flush it."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


class Warns(logging.Handler):
    """Lets a log line be a warning of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging`."""
        warn(f"warning: {record.getMessage()}")


def exit_unless(ok: bool, *, may_pass: bool = False) -> None:
    """Exit if not `ok`: with code 1, or with 3 if the same command may succeed later."""
    if not ok:
        raise typer.Exit(NOT_NOW if may_pass else FAILED)
