"""What an answer means that is not what was requested: a fault that passes, a refusal of this address, or an end.

Belongs here: HTTP statuses and the exchange's error codes. Does not belong here: reading them (`rest.answers`), waiting
and sending again (`rest.client`).

Passing faults come with any status, also with 4xx, so the exchange's code counts more than the status.
https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

from market_data_pipeline.core.errors import PairNotListed, PairNotServed, SourceError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.rest.answers import announced_wait_s, exchange_error
from market_data_pipeline.core.sources.transport import Response

_NOT_LISTED, _NOT_SERVED = -1121, -1122
# Unknown error, disconnected, busy, unexpected response, timeout, overloaded, shutting down.
_PASSING_CODES = frozenset({-1000, -1001, -1004, -1006, -1007, -1008, -1016})
# Too many requests, orders or connections.
_REFUSING_CODES = frozenset({-1003, -1015, -1034})
# Request timeout, and a request that came too early. 400 has a code where the request is wrong.
_PASSING_STATUSES = frozenset({400, 408, 425})
# How long to send nothing where the exchange does not say it, after the first refusal; each further one doubles it.
_UNANNOUNCED_WAIT_S = {403: 10.0, 418: 10.0, 429: 5.0}
_BLOCKED, _FIREWALL = 451, 403


class WrongAnswer(Exception):
    """A response that does not have what was requested. Retried like a passing fault; the text has what it is."""

    kind = "wrong_answer"


class PassingFault(Exception):
    """A fault that a retry may not meet; the text has what it is."""


class Refusal(PassingFault):
    """The exchange refuses requests from this address for a while.

    Attributes:
        wait_s: how long to send nothing.
        announced: True if the exchange says how long.
        of_firewall: True if it is the exchange's firewall that refuses, and does not say how long.
    """

    kind = "refused"

    def __init__(self, text: str, wait_s: float, *, announced: bool, of_firewall: bool = False) -> None:
        super().__init__(text)
        self.wait_s, self.announced, self.of_firewall = wait_s, announced, of_firewall


class Blocked(Exception):
    """HTTP 451: the address does not serve this location."""


def fault_of(response: Response, *, market: Market, address: str, now_s: float, refusals: int) -> Exception | None:
    """The fault that a response states, None if it states none.

    Args:
        response: a response of the exchange.
        market: the market that was asked.
        address: the address that was asked, for the text.
        now_s: the exchange's clock, as far as known.
        refusals: how often this request was refused before.
    """
    status, error = response.status, exchange_error(response.body)
    code, said = (error.code, f"{error.text} ({error.code})") if error else (None, "")
    if status == _BLOCKED:
        return Blocked()
    if code == _NOT_LISTED:
        return PairNotListed(f"{address} lists no {market} pair with this name")
    if code == _NOT_SERVED:
        return PairNotServed(f"{address} has no klines of this {market} pair in its present status: {said}")
    if status in _UNANNOUNCED_WAIT_S or code in _REFUSING_CODES:
        announced_s = announced_wait_s(response.headers, error.msg if error else "", now_s)
        wait_s = _UNANNOUNCED_WAIT_S.get(status, 5.0) * 2**refusals if announced_s is None else announced_s
        told = "not told how long" if announced_s is None else f"told to wait {announced_s:.0f} s"
        is_announced = announced_s is not None
        of_firewall = status == _FIREWALL and not is_announced and code not in _REFUSING_CODES
        return Refusal(f"HTTP {status}, {told}", wait_s, announced=is_announced, of_firewall=of_firewall)
    text = f"HTTP {status}" + (f": {said}" if said else "")
    if code in _PASSING_CODES:
        return PassingFault(text)
    if status == 200:
        return SourceError(f"{address} refuses the request: {said}") if code else None
    if (status in _PASSING_STATUSES and code is None) or not 400 <= status < 500:
        return PassingFault(text)
    return SourceError(f"{address} refuses the request ({text})")
