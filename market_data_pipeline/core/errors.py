"""Every error that a person can meet. Its text is one line: what went wrong, where, and what to do.

    MarketDataError
    ├── UsageError               the request is wrong or cannot be met
    ├── StoreError               the data root or a file of the store is unusable
    └── SourceError
        ├── PairNotListed        the market has no such pair
        ├── PairNotServed        the market has the pair, and no klines of it in its present status
        ├── BadAnswer            the exchange sent something that is not klines
        └── SourceUnavailable    the exchange cannot be reached now: end the work
            ├── RegionBlocked    HTTP 451
            └── Banned           the exchange refuses this IP address for long (HTTP 418)

Exit codes and HTTP codes do not belong here: `cli` and `api` map errors to them.
"""


class MarketDataError(Exception):
    """Base of all errors of this package."""


class UsageError(MarketDataError):
    """The request is wrong or cannot be met: an unknown zone, an empty window, a malformed pair."""


class StoreError(MarketDataError):
    """The data root cannot be used, or a file in it is damaged and the store cannot rebuild it by itself."""


class SourceError(MarketDataError):
    """The exchange did not give the requested klines."""


class PairNotListed(SourceError):
    """The market does not list the pair, and never did."""


class PairNotServed(SourceError):
    """The market has the pair, but gives no klines of it in its present status (-1122), as after a settlement."""


class BadAnswer(SourceError):
    """The exchange repeatedly sent something that cannot be the klines of the requested minutes."""


class SourceUnavailable(SourceError):
    """The exchange cannot be reached, or each request fails; requesting the next page would not help."""


class RegionBlocked(SourceUnavailable):
    """HTTP 451: the exchange does not serve this location."""


class Banned(SourceUnavailable):
    """The exchange refuses requests of this IP address for longer than a run should wait."""
