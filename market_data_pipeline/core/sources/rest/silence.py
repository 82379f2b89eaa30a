"""An exchange that has gone away: pages that waited for their turn are not sent any more.

Belongs here: for how long, after a page that got no answer. Does not belong here: how long one request is tried
(`rest.tries`), refusals (`rest.firewall`, `sources.governor`).

A page is tried for a minute. Many wait for a thread where the archive has gone away with the exchange, and the one that
the reader waits for may be the last of them.
"""

from collections.abc import Callable
from typing import TypeVar

from market_data_pipeline.core.errors import REFUSED, SourceError, SourceUnavailable
from market_data_pipeline.core.sources.breaker import Breaker

T = TypeVar("T")

_PAUSE_S = 30


class Silence:
    """Whether the last page got no answer after all its tries. Threads may share it."""

    def __init__(self) -> None:
        """Know of none."""
        # One is enough: its error says that no other request was answered meanwhile either.
        self._breaker = Breaker(failures=1, pause_s=_PAUSE_S)
        self._fault = ""

    def broken_by(self, send: Callable[[], T]) -> T:
        """Return what `send` does, unless a page before got no answer, and none has come since.

        Raises:
            SourceUnavailable: it is not sent, for the reason of the page before; or that of `send`.
        """
        if not self._breaker.may_try():
            raise SourceUnavailable(self._fault)
        try:
            answer = send()
        except REFUSED:
            raise
        except SourceUnavailable as error:
            self._fault = str(error)
            self._breaker.note_failure()
            raise
        except SourceError:
            self._breaker.note_answer()
            raise
        self._breaker.note_answer()
        return answer
