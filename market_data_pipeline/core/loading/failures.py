"""Failed days in the log: a reason once, then how many days in a row failed for it.

Belongs here: what is logged of days that fail. Does not belong here: why a day fails (`day`), what a user is shown
(`cli`), days that were loaded (`load_days`).

After an exchange that is gone all days that are left fail for the same reason, and a load of years has thousands.
"""

import logging
from dataclasses import dataclass

from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.text import count_text

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class FailedDays:
    """The failed days of one dataset, in order.

    Attributes:
        name: that of the dataset.
    """

    name: str
    _reason: str | None = None
    _more: int = 0
    _last: str = ""

    def note(self, result: DayResult) -> None:
        """Log why the day failed; if it is the reason of the failed day before, only count it."""
        if result.error == self._reason:
            self._more, self._last = self._more + 1, result.day.key
            return
        self.end()
        self._reason = result.error
        _log.error("%s %s failed: %s", self.name, result.day.key, result.error)

    def end(self) -> None:
        """Log how many days failed for the reason that was logged last."""
        if self._more:
            more = count_text(self._more, "more day")
            _log.error("%s %s: until then %s failed for the same reason", self.name, self._last, more)
        self._reason, self._more = None, 0
