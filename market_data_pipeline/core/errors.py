"""Every error that a person can meet. Its text is one line: what went wrong, where, and what to do.

    MarketDataError
    ├── UsageError               the request is wrong or cannot be met
    │   └── NoKlinesInWindow     the exchange has klines of the pair, and none in the requested window
    ├── StoreError               a file of the store is damaged
    │   └── StoreUnavailable     the disk gives or takes no file now (also an Unavailable)
    └── Unavailable              it could not be done now: the same command may succeed later
        └── SourceError
            ├── PairNotListed        the market has no such pair
            ├── PairNotServed        the market has the pair, and no klines of it in its present status
            ├── NotTradedYet         the market lists the pair, and there is no kline of it yet
            ├── BadAnswer            the exchange sent something that is not klines
            └── SourceUnavailable    the exchange cannot be reached now: end the work
                ├── RegionBlocked    HTTP 451
                ├── Banned           the exchange refuses this IP address for long (HTTP 418)
                │   └── ShutOut      the exchange's firewall does (HTTP 403)
                └── BudgetUnavailable    the budget of request weight cannot be reached

Exit codes and HTTP codes do not belong here: `cli` and `api` map errors to them.
"""

import errno


class MarketDataError(Exception):
    """Base of all errors of this package."""


class MarketDataWarning(UserWarning):
    """Something that the command line would print as a warning, or end with an exit code for."""


class UsageError(MarketDataError):
    """The request is wrong or cannot be met: an unknown zone, an empty window, a malformed pair."""


class NoKlinesInWindow(UsageError):
    """The exchange has klines of the pair, and none in the requested window."""


class Unavailable(MarketDataError):
    """It could not be done now, because of the exchange, the network or the disk; the same may succeed later."""


class StoreError(MarketDataError):
    """A file of the data root is damaged, and the store cannot rebuild it by itself."""


class StoreUnavailable(StoreError, Unavailable):
    """The disk is full, or a folder or file cannot be read or written: by this user, or at all."""


class SourceError(Unavailable):
    """The exchange did not give the requested klines."""


class PairNotListed(SourceError):
    """The market does not list the pair, and never did."""


class PairNotServed(SourceError):
    """The market has the pair, but gives no klines of it in its present status (-1122), as after a settlement."""


class NotTradedYet(SourceError):
    """The market lists the pair, and nobody has traded it yet."""


class BadAnswer(SourceError):
    """The exchange repeatedly sent something that cannot be the klines of the requested minutes."""


class SourceUnavailable(SourceError):
    """The exchange cannot be reached, or each request fails; requesting the next page would not help."""


class RegionBlocked(SourceUnavailable):
    """HTTP 451: the exchange does not serve this location."""


class Banned(SourceUnavailable):
    """The exchange refuses requests of this IP address for longer than a run should wait."""


class ShutOut(Banned):
    """HTTP 403: the exchange's firewall refuses this IP address, and does not say for how long."""


class BudgetUnavailable(SourceUnavailable):
    """The budget of request weight cannot be reached, so no request may be sent."""


REFUSED: tuple[type[SourceUnavailable], ...] = (RegionBlocked, Banned)
"""The errors after which REST is not to be asked any more, whereas the archive may go on."""
PASSING: tuple[type[Exception], ...] = (Unavailable, OSError)
"""The errors after which the same command may succeed later, without a repair. Outside of requests to the exchange an
OSError is the disk's."""


def is_refusal(error: Exception) -> bool:
    """True for an error of the disk or the object store, which says nothing of what is in the file.

    Errors of pyarrow about the content are OSErrors, too, and have no number. A file that is gone, or that another one
    has replaced while it was read, is not refused.
    """
    return isinstance(error, OSError) and error.errno not in {None, errno.ENOENT, errno.ESTALE}
