"""Numbers, and what others sent, as people read them: the same in the terminal, on the browse page and in Dagster.

Belongs here: one function for each kind of value that several faces show. Does not belong here: layout, colours, times
(`klines.days.iso`).
"""

import errno
import os
import re
from collections.abc import Mapping, Sequence

from rich import filesize

from market_data_pipeline.core.errors import MarketDataError

_HOUR, _DAY = 60, 1440
_MOST_NAMES, _MOST_OF_A_NAME = 10, 50
# Access denied, a sharing violation, a lock violation: any of them refuses what another program has open.
_REFUSALS_OF_WINDOWS = {5, 32, 33}


def size_text(size_bytes: int) -> str:
    """Bytes in the decimal unit that fits: `138.0 kB`."""
    return filesize.decimal(size_bytes)


def kinds_text(minutes: Mapping[str, int]) -> str:
    """Minutes per kind of absence: `outage 284 min, open 12 min`, or `nothing`."""
    return ", ".join(f"{kind} {count:,} min" for kind, count in minutes.items()) or "nothing"


def age_text(minutes: int) -> str:
    """A number of minutes in minutes, hours or days: `5 min`, `3 h`, `12 days`."""
    if minutes < 2 * _HOUR:
        return f"{minutes} min"
    return f"{minutes // _HOUR} h" if minutes < 2 * _DAY else f"{minutes // _DAY:,} days"


def clock_text(behind_ms: int) -> str:
    """How far this machine's clock is behind another one: `exact`, `12 ms behind`, `45 s ahead`, `3 h behind`."""
    if not behind_ms:
        return "exact"
    seconds, off_ms = abs(behind_ms) // 1000, abs(behind_ms)
    far = age_text(seconds // 60) if seconds >= 120 else f"{seconds} s" if seconds >= 10 else f"{off_ms:,} ms"
    return f"{far} {'behind' if behind_ms > 0 else 'ahead'}"


def count_text(count: int, noun: str) -> str:
    """A count with its noun: `1 day`, `1,440 minutes`. The noun takes an `s` in the plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def first_text(texts: Sequence[str]) -> str:
    """The first of some texts, and how many others there are: `BTC/USDT: no answer and 3 more`."""
    return f"{texts[0]} and {len(texts) - 1:,} more" if len(texts) > 1 else texts[0]


def unread_text(names: Sequence[str]) -> str:
    """The names of what cannot be read, which others gave: `A/B, C D and 3 more`."""
    told = [one_line(name, _MOST_OF_A_NAME) for name in names[:_MOST_NAMES]]
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


def told_of(name: str, problem: str) -> str:
    """What is wrong with a dataset or a pair: its name and the problem; the problem alone where that names it first.

    `BTC/USDT` is also named by a problem that begins with `spot BTC/USDT`.
    """
    return problem if re.match(rf"(\w+ )?{re.escape(name)}[ :]", problem) else f"{name}: {problem}"


def refusal_of_disk(error: OSError) -> str:
    """An error of the disk, or of an object store, in one line: a full disk, a folder of another user, no network."""
    problem, _, cure = (error.strerror or type(error).__name__).partition("; ")
    where = error.filename or ("" if error.strerror else error)
    what = f"{problem}: {where}" if where else problem
    if cure:
        return f"{what}; {cure}"
    if error.errno == errno.EPIPE:  # whoever reads a command's output may go away in the middle of a load
        return f"{what}; nobody reads the output any more"
    if "://" in str(error.filename):
        return f"{what}; check the network, the bucket and the credentials"
    if error.errno == errno.EIO:
        return f"{what}; the disk may be failing, the system's log says more"
    of_windows = getattr(error, "winerror", None)  # opening a file there gives the number of POSIX alone
    is_refused = error.errno in (errno.EACCES, errno.EPERM) and of_windows is None
    if of_windows in _REFUSALS_OF_WINDOWS or (is_refused and os.name == "nt"):
        return f"{what}; close the program that has it open, or check that you may write there"
    if is_refused:
        return f"{what}; run this as the user who owns it, or make it yours (chown)"
    return f"{what}; check that the disk is not full and that you may write to the folder"


def problem_text(error: MarketDataError | OSError) -> str:
    """Why something could not be done, in one line: an error of this package, or as `refusal_of_disk`."""
    return refusal_of_disk(error) if isinstance(error, OSError) else " ".join(str(error).split())


def one_line(text: str, most: int) -> str:
    """What others sent, as one line of at most so many characters that a terminal does not act upon."""
    words = " ".join(text.split())[:most]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


def reason_text(error: Exception) -> str:
    """Why content was refused, in one line without a full stop, to be a part of a message.

    The name of the error is left out, but where its text alone says nothing: a KeyError has only the key.
    """
    text = " ".join(str(error).split()).rstrip(".")
    says_why = text and isinstance(error, ValueError | OSError | MarketDataError)
    return text if says_why else f"{type(error).__name__}: {text}"
