"""Health as `GET /health` returns it: the checks of `app.health`, and those of Dagster's processes.

Belongs here: the check of the webserver, how long results are kept, and how long a request waits for them. Does not
belong here: the other checks (`app.health`; of daemon, broker and workers `app.doctor.processes`).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from market_data_pipeline.api.dagster_client import Dagster, DagsterUnavailable
from market_data_pipeline.api.models import Health, Sign
from market_data_pipeline.app.doctor.processes import processes
from market_data_pipeline.app.health import check_health
from market_data_pipeline.app.targets import target_of
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.settings import Settings

# The checks cost request weight, and `GET /health` needs no token: without this, strangers could use up the budget.
_KEPT_S = 15.0
_ANSWERED_WITHIN_S, _WEBSERVER_WITHIN_S = 4.0, 3.0
_LOOK_EVERY_S = 0.02
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Check:
    """One pass over all checks; the lists grow while its threads run.

    Dagster's webserver and its database have one each: where one of them says nothing, the others are told.
    """

    began_s: float
    signs: list[Sign] = field(default_factory=list)
    webserver: list[Sign] = field(default_factory=list)
    dagster: list[Sign] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """True if each check has its sign."""
        return not any(thread.is_alive() for thread in self.threads)

    @property
    def health(self) -> Health:
        """All signs, or those so far and one that says that the others are still to come."""
        open_checks = Sign(
            name="checks",
            ok=False,
            detail=f"not all ended within {_ANSWERED_WITHIN_S:g} s; ask again for the others",
        )
        missing = [] if self.has_ended else [open_checks]
        signs = [*self.signs, *self.webserver, *self.dagster, *missing]
        return Health(ok=all(sign.ok for sign in signs), signs=signs)


class HealthCheck:
    """The checks and their last results, which are kept for 15 seconds.

    All requests wait for the same pass over the checks, for 4 seconds at most, and in no thread of their own.
    """

    def __init__(self, settings: Settings, dagster: Dagster) -> None:
        self._settings, self._dagster = settings, dagster
        self._lock = threading.Lock()
        self._check: _Check | None = None

    async def health(self) -> Health:
        """The results; the checks run again if these are older than 15 seconds."""
        check = self._latest()
        while not check.has_ended and time.monotonic() - check.began_s < _ANSWERED_WITHIN_S:
            await asyncio.sleep(_LOOK_EVERY_S)
        return check.health

    def _latest(self) -> _Check:
        """The pass that goes on, or the last one; a new one if that is too old."""
        now_s = time.monotonic()
        with self._lock:
            check = self._check
            if check is None or (check.has_ended and now_s - check.began_s > _KEPT_S):
                check = self._check = _Check(now_s)
                passes = (
                    ("health", check.signs, self._own),
                    ("health of webserver", check.webserver, self._webserver),
                    ("health of dagster", check.dagster, self._processes),
                )
                for name, noted, checks in passes:
                    # A daemon: the server may end while the exchange lets it wait.
                    thread = threading.Thread(target=_note, args=(noted, checks), name=name, daemon=True)
                    check.threads.append(thread)
                    thread.start()
            return check

    def _own(self) -> Iterator[Sign]:
        for sign in check_health(self._settings, target_of(self._settings)):
            yield Sign(name=sign.name, ok=sign.ok, detail=sign.detail)

    def _processes(self) -> Iterator[Sign]:
        for line in processes(self._settings):
            yield Sign(name=line.name, ok=line.ok, detail="; ".join(filter(None, (line.detail, line.cure))))

    def _webserver(self) -> Iterator[Sign]:
        try:
            self._dagster.require_reachable(timeout_s=_WEBSERVER_WITHIN_S)
        except DagsterUnavailable as error:
            yield Sign(name="webserver", ok=False, detail=str(error))
        else:
            yield Sign(name="webserver", ok=True, detail=self._dagster.public_url)


def _note(noted: list[Sign], checks: Callable[[], Iterator[Sign]]) -> None:
    """Add each sign when it is there, and one of the checks themselves if they fail."""
    try:
        for sign in checks():
            noted.append(sign)  # noqa: PERF402 - requests read the list meanwhile
    except (MarketDataError, OSError) as error:
        noted.append(Sign(name="checks", ok=False, detail=" ".join(f"they cannot run: {error}".split())))
    except Exception as error:
        _log.exception("the checks of health failed")
        noted.append(Sign(name="checks", ok=False, detail=f"they failed: {type(error).__name__}"))
