"""Every error a person can meet, each one line: what, where, what to do.

    MarketDataError
    ├── UsageError               the request cannot be served as it was asked
    ├── StoreError               the data root or a file of the store is unusable
    └── SourceError
        ├── PairNotListed        the market has no such pair
        ├── BadAnswer            the exchange answered something that is not klines
        └── SourceUnavailable    no answer to be had now: nothing further should be tried
            ├── RegionBlocked    HTTP 451
            └── Banned           the exchange refuses this IP address for long (HTTP 418)

No exit codes and no HTTP codes here: the faces map them.
"""


class MarketDataError(Exception):
    """Base of all errors of this package."""


class UsageError(MarketDataError):
    """The request cannot be served as it was asked: an unknown zone, an empty window, a malformed pair."""


class StoreError(MarketDataError):
    """The data root cannot be used, or a file in it is damaged beyond what the store mends by itself."""


class SourceError(MarketDataError):
    """The exchange did not give what was asked."""


class PairNotListed(SourceError):
    """The market does not list the pair and never did."""


class BadAnswer(SourceError):
    """The exchange kept answering something that cannot be klines of the asked minutes."""


class SourceUnavailable(SourceError):
    """The exchange cannot be reached, or keeps failing; trying the next page would not help."""


class RegionBlocked(SourceUnavailable):
    """HTTP 451: the exchange does not serve this location."""


class Banned(SourceUnavailable):
    """The exchange refuses this IP address for longer than is worth waiting."""
