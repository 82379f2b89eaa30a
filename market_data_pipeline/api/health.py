"""Health as `GET /health` returns it: the checks of `app.health`, and one of the Dagster webserver.

Belongs here: that check, and how long results are kept. Does not belong here: the other checks (`app.health`).
"""

import threading
import time

from market_data_pipeline.api.dagster_client import Dagster, DagsterUnavailable
from market_data_pipeline.api.models import Health, Sign
from market_data_pipeline.app.health import check_health
from market_data_pipeline.app.targets import target_of
from market_data_pipeline.settings import Settings

# The checks cost request weight, and `GET /health` needs no token: without this, strangers could use up the budget.
_KEPT_S = 15.0


class HealthCheck:
    """The checks and their last results, which are kept for 15 seconds. Threads may share it."""

    def __init__(self, settings: Settings, dagster: Dagster) -> None:
        self._settings, self._dagster = settings, dagster
        self._lock = threading.Lock()
        self._checked_s = -float("inf")
        self._health = Health(ok=False, signs=[])

    def health(self) -> Health:
        """The last results; the checks run again if these are older than 15 seconds."""
        with self._lock:
            if time.monotonic() - self._checked_s > _KEPT_S:
                checked = check_health(self._settings, target_of(self._settings))
                signs = [Sign(name=sign.name, ok=sign.ok, detail=sign.detail) for sign in checked]
                signs.append(self._webserver())
                self._health = Health(ok=all(sign.ok for sign in signs), signs=signs)
                self._checked_s = time.monotonic()
            return self._health

    def _webserver(self) -> Sign:
        try:
            self._dagster.require_reachable()
        except DagsterUnavailable as error:
            return Sign(name="webserver", ok=False, detail=str(error))
        return Sign(name="webserver", ok=True, detail=self._dagster.public_url)
