"""All looks of the examination, at once, each with a limit in time.

Belongs here: their order, their limits, and what is shown of one that does not end or breaks. Does not belong here: the
looks (the other modules of this room), printing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from market_data_pipeline.app.doctor import errors, limits, locks, network, places, processes, storage
from market_data_pipeline.app.doctor.configuration import SECTION as SETTINGS
from market_data_pipeline.app.doctor.configuration import configuration, universes
from market_data_pipeline.app.doctor.lines import Line, of_error
from market_data_pipeline.app.doctor.secrets import secrets_of
from market_data_pipeline.app.doctor.versions import versions
from market_data_pipeline.core.errors import MarketDataError, UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import one_line
from market_data_pipeline.settings import Settings, load_usable

_WITHIN_S = 5.0
# A request to the exchange has 4 s, and is tried again for 7. A bucket that refuses connections is tried again for 4.
_NETWORK_WITHIN_S = 9.0
_MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class _Look:
    """One look: what gives its lines, how long that may take, and what to do if it takes longer."""

    section: str
    lines: Callable[[], Iterator[Line]]
    late: str
    within_s: float = _WITHIN_S


class Examination:
    """The examination of this installation. No look waits for another one, and none for long."""

    def __init__(self) -> None:
        """Look at nothing yet."""
        self.unfinished: list[str] = []
        """The sections of looks that did not end in time. Their threads go on, and end with the process."""
        self._causes: dict[str, str] = {}

    def lines(self) -> Iterator[Line]:
        """The lines in their order, each as soon as it and those before it are there."""
        settings, refused = load_usable()
        secrets = secrets_of(settings)
        begun = [(look, _begun(look)) for look in _looks(settings)]
        for line in (*versions(), *configuration(settings, refused)):
            yield secrets.hidden(line)
        began_s = time.monotonic()
        for look, told in begun:
            for line in self._of(look, told, began_s + look.within_s):
                yield secrets.hidden(self._told_once(line))

    def _of(self, look: _Look, told: "SimpleQueue[Line | None]", until_s: float) -> Iterator[Line]:
        while True:
            try:
                line = told.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                self.unfinished.append(look.section)
                yield Line(look.section, "not finished", f"no answer within {look.within_s:g} s", look.late)
                return
            if line is None:
                return
            yield line

    def _told_once(self, line: Line) -> Line:
        """The line, which names an earlier one in place of a cause that was told there."""
        if not line.cause:
            return line
        if earlier := self._causes.get(line.cause):
            return replace(line, detail=f"the same cause as of {earlier}", cure="mend that first")
        self._causes[line.cause] = f"{line.section} {line.name}"
        return line


def _looks(settings: Settings) -> list[_Look]:
    root = _root_of(settings)
    in_bucket = not isinstance(settings.market_data_dir, Path)
    root_within_s = _NETWORK_WITHIN_S if in_bucket else _WITHIN_S
    looks = []
    if root is not None:
        looks.append(_Look(SETTINGS, partial(universes, settings), places.LATE, root_within_s))
    looks.append(_Look(places.SECTION, partial(places.folders, settings), places.LATE))
    if root is not None and in_bucket:
        looks.append(_Look(places.SECTION, partial(places.bucket, root), places.LATE_BUCKET, root_within_s))
    for market in Market:
        look = partial(network.market, settings, market)
        looks.append(_Look(network.SECTION, look, network.LATE, _NETWORK_WITHIN_S))
    looks.append(_Look(network.SECTION, partial(network.proxies, settings), network.LATE))
    looks.append(_Look(limits.SECTION, limits.open_files, "run it again"))
    if root is not None:
        looks.append(_Look(locks.SECTION, partial(locks.locks, settings), locks.LATE, root_within_s))
    looks.append(_Look(storage.SECTION, partial(storage.storage, settings), storage.LATE, root_within_s))
    looks.append(_Look(storage.SECTION, partial(processes.processes, settings), storage.LATE, _NETWORK_WITHIN_S))
    if root is not None:
        looks.append(_Look(errors.SECTION, partial(errors.errors, settings), errors.LATE, root_within_s))
        looks.append(_Look(errors.SECTION, partial(errors.live, settings), errors.LATE, _NETWORK_WITHIN_S))
    return looks


def _root_of(settings: Settings) -> StorePath | None:
    """The data root; None if its address is none, which the settings' lines say."""
    try:
        return settings.root
    except UsageError:
        return None


def _begun(look: _Look) -> "SimpleQueue[Line | None]":
    """The lines of a look that has begun in a thread, None behind the last one."""
    told: SimpleQueue[Line | None] = SimpleQueue()

    def run() -> None:
        try:
            for line in look.lines():
                told.put(line)
        except (MarketDataError, OSError) as error:
            told.put(of_error(look.section, "error", error, look.late))
        except Exception as error:  # a look that breaks hides no other
            reason = one_line(f"{type(error).__name__}: {error}", _MOST_CHARACTERS)
            told.put(Line(look.section, "error", f"this look broke: {reason}", "report it, with this line"))
        told.put(None)

    # A daemon: the process ends while a dead disk lets a look wait.
    Thread(target=run, name=f"doctor {look.section}", daemon=True).start()
    return told
