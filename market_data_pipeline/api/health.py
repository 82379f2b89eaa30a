"""Health as `GET /health` returns it: the checks of `app.health`, and those of Dagster's processes.

Belongs here: the check of the webserver, how long results are kept, and how long a request waits for them. Does not
belong here: the other checks (`app.health`; of daemon, broker and workers `app.doctor.processes`).
"""

import asyncio
import logging
import threading
import time
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
_ANSWERED_WITHIN_S = 4.0
_LOOK_EVERY_S = 0.02
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Check:
    """One pass over all checks, which a thread of its own makes; `signs` grows while it goes on."""

    began_s: float
    signs: list[Sign] = field(default_factory=list)
    dagster: list[Sign] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def health(self) -> Health:
        """All signs, or those so far and one that says that the others are still to come."""
        open_checks = Sign(
            name="checks",
            ok=False,
            detail=f"not all ended within {_ANSWERED_WITHIN_S:g} s; ask again in a minute for the others",
        )
        missing = [] if self.ended.is_set() else [open_checks]
        signs = [*self.signs, *self.dagster, *missing]
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
        while not check.ended.is_set() and time.monotonic() - check.began_s < _ANSWERED_WITHIN_S:
            await asyncio.sleep(_LOOK_EVERY_S)
        return check.health

    def _latest(self) -> _Check:
        """The pass that goes on, or the last one; a new one if that is too old."""
        now_s = time.monotonic()
        with self._lock:
            check = self._check
            if check is None or (check.ended.is_set() and now_s - check.began_s > _KEPT_S):
                check = self._check = _Check(now_s)
                # A daemon: the server may end while the exchange lets it wait.
                threading.Thread(target=self._run, args=(check,), name="health", daemon=True).start()
            return check

    def _run(self, check: _Check) -> None:
        try:
            check.dagster.append(self._webserver())
            check.dagster.extend(
                Sign(name=line.name, ok=line.ok, detail="; ".join(filter(None, (line.detail, line.cure))))
                for line in processes(self._settings)
            )
            for sign in check_health(self._settings, target_of(self._settings)):
                check.signs.append(Sign(name=sign.name, ok=sign.ok, detail=sign.detail))
        except (MarketDataError, OSError) as error:
            check.signs.append(Sign(name="checks", ok=False, detail=" ".join(f"they cannot run: {error}".split())))
        except Exception as error:
            _log.exception("the checks of health failed")
            check.signs.append(Sign(name="checks", ok=False, detail=f"they failed: {type(error).__name__}"))
        finally:
            check.ended.set()

    def _webserver(self) -> Sign:
        try:
            self._dagster.require_reachable()
        except DagsterUnavailable as error:
            return Sign(name="webserver", ok=False, detail=str(error))
        return Sign(name="webserver", ok=True, detail=self._dagster.public_url)
