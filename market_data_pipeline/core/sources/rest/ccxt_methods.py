"""One market of the exchange through ccxt's raw methods: call an endpoint, get the exchange's response.

Belongs here: what this package relies on in ccxt, the addresses it calls, and the limits of a call. Does not belong
here: the meaning of a response (`rest.faults`, `rest.answers`), retries (`rest.client`).

ccxt makes the addresses. Its own limiter is off: it would halve the futures budget and does not count the requests of
other processes (docs/decisions/0001). It reads no response: it turns HTTP 451 into an error that looks like a passing
one, and fails on JSON of other types than it expects. So the response goes around it, per thread.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import ccxt

from market_data_pipeline.core.errors import SourceError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.transport import NoResponse, Response, Transport

# The market's names of the endpoints; ccxt makes its methods of them.
_METHODS = {
    Market.SPOT: {"klines": "publicGetKlines", "time": "publicGetTime", "exchangeInfo": "publicGetExchangeInfo"},
    Market.FUTURES: {
        "klines": "fapiPublicGetKlines",
        "time": "fapiPublicGetTime",
        "exchangeInfo": "fapiPublicGetExchangeInfo",
    },
}
# The wall clock and the monotonic one run apart by no more than this while nobody sets the former.
_MOST_STEP_S = 1.0


class RawExchange:
    """The raw methods of one market. Threads may share it."""

    def __init__(self, market: Market, *, base_url: str | None, connections: int) -> None:
        """Send no request yet.

        Args:
            market: the market.
            base_url: replaces the exchange's own address.
            connections: how many connections are kept open.
        """
        self._market = market
        self._call = threading.local()
        self._session = _Session(connections, self._call)
        self._exchange: Any = getattr(ccxt, market.exchange_id)({"enableRateLimit": False, "session": self._session})
        url = urlsplit(self._exchange.urls["api"]["public" if market is Market.SPOT else "fapiPublic"])
        self.address = f"{url.scheme}://{url.netloc}"
        if base_url:
            self.redirect(base_url)

    def redirect(self, base_url: str) -> None:
        """Call another address from now on."""
        self.address = base_url
        self._exchange.urls["api"]["public"] = f"{base_url.rstrip('/')}/api/v3"
        self._exchange.urls["api"]["fapiPublic"] = f"{base_url.rstrip('/')}/fapi/v1"

    def call(self, endpoint: str, params: dict[str, Any], *, most_bytes: int, deadline_s: float) -> Response:
        """Return the response of an endpoint, whatever its status.

        Args:
            endpoint: `klines`, `time` or `exchangeInfo`.
            params: the request's parameters.
            most_bytes: the largest body that is accepted.
            deadline_s: how long the request may take.

        Raises:
            NoResponse: there was no complete response, or one of the exchange's clock that says nothing of this
                machine's, which was set or slept meanwhile.
            SourceError: ccxt makes no request of these parameters.
        """
        self._call.limits = most_bytes, deadline_s
        try:
            getattr(self._exchange, _METHODS[self._market][endpoint])(params)
        except ccxt.BaseError as error:
            raise SourceError(
                f"ccxt sends no request to {self.address}: {' '.join(str(error).split())[:200]}"
            ) from error
        response: Response
        response, self._call.response = self._call.response, None  # a thread that waits holds no body
        sent_s, answered_s = self._call.moments_s
        if endpoint == "time" and abs(answered_s - sent_s - self._call.took_s) > _MOST_STEP_S:
            raise NoResponse("this machine's clock was set, or it slept, while the exchange's was requested")
        return response

    @property
    def moments_s(self) -> tuple[float, float]:
        """When this thread's last response was requested, and when it was there (this machine's clock, in seconds)."""
        moments: tuple[float, float] = self._call.moments_s
        return moments

    @property
    def proxy_hint(self) -> str:
        """See `Transport.proxy_hint`."""
        return self._session.transport(self.address).proxy_hint

    def traffic(self) -> Traffic:
        """What was answered so far."""
        return self._session.traffic()

    def close(self) -> None:
        """Close the connections. Requests in flight fail."""
        self._session.close()


class _Session:
    """The part of a `requests.Session` that ccxt uses, over a `Transport` per address."""

    def __init__(self, connections: int, call: threading.local) -> None:
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self._connections, self._call = connections, call
        self._transports: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def transport(self, address: str) -> Transport:
        origin = "/".join(address.split("/", 3)[:3])
        with self._lock:
            if origin not in self._transports:
                self._transports[origin] = Transport(origin, connections=self._connections)
            return self._transports[origin]

    def traffic(self) -> Traffic:
        with self._lock:
            return sum((transport.traffic for transport in self._transports.values()), Traffic())

    def request(self, method: str, url: str, *, data: bytes | None, headers: Mapping[str, str], **_: Any) -> "_Nothing":
        transport = self.transport(url)
        most_bytes, deadline_s = self._call.limits
        sent_s, began_s = time.time(), time.monotonic()
        self._call.response = transport.request(
            url[len(transport.origin) :],
            most_bytes=most_bytes,
            deadline_s=deadline_s,
            method=method,
            headers=headers,
            body=data,
        )
        self._call.moments_s, self._call.took_s = (sent_s, time.time()), time.monotonic() - began_s
        return _Nothing()

    def close(self) -> None:
        with self._lock:
            for transport in self._transports.values():
                transport.close()


class _Nothing:
    """The part of a `requests.Response` that ccxt uses: an empty one, in which it finds nothing to read."""

    encoding = "utf-8"
    status_code, reason = 200, "OK"
    headers: Mapping[str, str] = {}
    content = text = ""

    def raise_for_status(self) -> None:
        """Never: `rest.faults` reads the status."""
