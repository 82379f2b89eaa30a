"""Whether all is well, as the API tells it.

Belongs here: the Dagster webserver's sign beside those of `health`, and how long they are good for. Does not belong
here: the looking itself.
"""

import threading
import time

from market_data_pipeline.api.dagster_client import Dagster, DagsterUnavailable
from market_data_pipeline.api.models import Health, Sign
from market_data_pipeline.app.health import look_after
from market_data_pipeline.app.targets import target_of
from market_data_pipeline.settings import Settings

# Each look at the exchange costs request weight, which anyone who may read could spend.
_KEPT_S = 15.0


class Vitals:
    """The signs, looked at anew when the last look is some seconds old. Threads may share it."""

    def __init__(self, settings: Settings, dagster: Dagster) -> None:
        self._settings, self._dagster = settings, dagster
        self._lock = threading.Lock()
        self._looked_s = -float("inf")
        self._health = Health(ok=False, signs=[])

    def look(self) -> Health:
        """How things are."""
        with self._lock:
            if time.monotonic() - self._looked_s > _KEPT_S:
                found = look_after(self._settings, target_of(self._settings))
                signs = [Sign(name=one.name, ok=one.ok, detail=one.detail) for one in found] + [self._webserver()]
                self._health = Health(ok=all(sign.ok for sign in signs), signs=signs)
                self._looked_s = time.monotonic()
            return self._health

    def _webserver(self) -> Sign:
        try:
            self._dagster.require()
        except DagsterUnavailable as error:
            return Sign(name="webserver", ok=False, detail=str(error))
        return Sign(name="webserver", ok=True, detail=self._dagster.public_url)
