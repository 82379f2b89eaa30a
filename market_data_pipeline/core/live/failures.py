"""What failed for the datasets of a market in one minute, in the log: a reason once, with how many datasets it met.

Belongs here: what is logged of datasets that fail together. Does not belong here: why one fails (`dataset`), alerts
(`defs.alerts`), what a user is shown (`cli`).

An exchange that is gone, a spent budget or a full disk fails all datasets of a market, each minute anew.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from market_data_pipeline.core.errors import BadAnswer, StoreError, StoreUnavailable
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text, one_line

_log = logging.getLogger(__name__)
# The text of an error may name its pair, so that each is a reason of its own.
_MOST_LINES = 10


@dataclass(slots=True)
class Failures:
    """Datasets that failed, by the reason, until they are logged."""

    _names: dict[str, list[str]] = field(default_factory=dict)
    first: Exception | None = None
    """The first error that `apart` caught."""

    @property
    def by_name(self) -> dict[str, str]:
        """Why each dataset failed, by its name."""
        return {name: reason for reason, names in self._names.items() for name in names}

    @contextmanager
    def apart(self, name: str, root: StorePath) -> Iterator[None]:
        """Note what the block raises of a dataset and its files below this root, so that the others go on.

        A bucket that is away is so for all datasets, each of which would wait for it: that is raised.
        """
        try:
            yield
        except (StoreError, BadAnswer, OSError) as error:
            if isinstance(error, OSError | StoreUnavailable) and storage_of(root).is_conditional:
                raise
            self.first = self.first or error
            self.note(name, str(error))

    def note(self, name: str, reason: str) -> None:
        """Note why a dataset failed."""
        self._names.setdefault(one_line(reason, 1000), []).append(name)

    def log(self) -> None:
        """Log the reasons, those of the most datasets first, and forget them."""
        reasons = sorted(self._names.items(), key=lambda reason: -len(reason[1]))
        for reason, (name, *more) in reasons[:_MOST_LINES]:
            _log.warning("%s%s: %s", name, f" and {len(more)} more" if more else "", reason)
        if rest := sum(len(names) for _, names in reasons[_MOST_LINES:]):
            _log.warning("%s failed in the same minute", count_text(rest, "more dataset"))
        self._names = {}


@contextmanager
def logged() -> Iterator[Failures]:
    """Failures to be noted in the block, which are logged at its end."""
    failures = Failures()
    try:
        yield failures
    finally:
        failures.log()
