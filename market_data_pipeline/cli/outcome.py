"""How a command ends: its exit code, and the one line that an error gets.

Belongs here: what all commands share. Does not belong here: the commands (`cli`, `cli_services`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from market_data_pipeline.settings import Settings

NOT_AS_IT_SHOULD_BE, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def load_settings(**given: str | None) -> "Settings":
    """The settings of the environment, with the texts that were given in their place."""
    from market_data_pipeline.settings import load

    return load(**given)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors that a person can meet into one line and an exit code."""
    from market_data_pipeline.core.errors import MarketDataError

    try:
        yield
    except MarketDataError as error:
        fail(str(error), WRONG_USAGE)
    except OSError as error:
        # A full disk, a folder of someone else, a read-only mount.
        what = f"{error.strerror or type(error).__name__}: {error.filename or error}"
        fail(f"{what}; see whether the disk is full and whether the folder may be written", WRONG_USAGE)
    except KeyboardInterrupt:
        fail("interrupted; what was finished is kept, run the same command again to go on", INTERRUPTED)


def fail(message: str, code: int) -> NoReturn:
    """Say in one line what is wrong, and exit."""
    warn(f"error: {' '.join(message.split())}")
    sys.exit(code)


def say(message: str) -> None:
    """A line on stdout, at once."""
    print(message, flush=True)  # noqa: T201


def warn(message: str) -> None:
    """A line on stderr."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def exit_unless(ok: bool) -> None:
    """Exit with code 1 if it is not."""
    if not ok:
        raise typer.Exit(NOT_AS_IT_SHOULD_BE)
