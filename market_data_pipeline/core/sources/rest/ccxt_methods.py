"""One market of the exchange through ccxt's raw methods: call an endpoint, get its response as text or JSON.

Belongs here: what this package relies on in ccxt, and the addresses it calls. Does not belong here: the meaning of a
response, retries (`rest.client`).

ccxt's own limiter is off: it would halve the futures budget and does not count the requests of other processes
(docs/decisions/0001). ccxt turns HTTP 451 into an error that looks like a passing one, so the status of each response
is kept per thread.
"""

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import ccxt
from requests.exceptions import HTTPError

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.transport import Response, Transport

# The market's names of the endpoints; ccxt makes its methods of them.
_METHODS = {
    Market.SPOT: {"klines": "publicGetKlines", "time": "publicGetTime", "exchangeInfo": "publicGetExchangeInfo"},
    Market.FUTURES: {
        "klines": "fapiPublicGetKlines",
        "time": "fapiPublicGetTime",
        "exchangeInfo": "fapiPublicGetExchangeInfo",
    },
}
# 1500 klines have 300 kB. All symbols of spot have about 20 MB.
_MOST_BYTES = {"exchangeInfo": 1 << 25}
_MOST_BYTES_OF_OTHERS = 1 << 21


class RawExchange:
    """The raw methods of one market. Threads may share it."""

    def __init__(self, market: Market, *, base_url: str | None, deadline_s: float, connections: int) -> None:
        """Send no request yet.

        Args:
            market: the market.
            base_url: replaces the exchange's own address.
            deadline_s: how long a request may take.
            connections: how many connections are kept open.
        """
        self._market = market
        self._last = threading.local()
        self._session = _Session(connections, deadline_s)
        self._exchange = _make_exchange(market, self._session, self._last)
        url = urlsplit(self._exchange.urls["api"]["public" if market is Market.SPOT else "fapiPublic"])
        self.address = f"{url.scheme}://{url.netloc}"
        if base_url:
            self.redirect(base_url)

    def redirect(self, base_url: str) -> None:
        """Call another address from now on."""
        self.address = base_url
        self._exchange.urls["api"]["public"] = f"{base_url.rstrip('/')}/api/v3"
        self._exchange.urls["api"]["fapiPublic"] = f"{base_url.rstrip('/')}/fapi/v1"

    def call(self, endpoint: str, params: dict[str, Any]) -> Any:
        """Return the response of an endpoint: JSON, or for klines the text.

        Raises:
            NoResponse: there was no complete response.
            ccxt.BaseError: the response is an error; `status` has its HTTP status.
        """
        self._last.status, self._last.headers = None, {}
        return getattr(self._exchange, _METHODS[self._market][endpoint])(params)

    @property
    def status(self) -> int | None:
        """The HTTP status of this thread's last response, None if there was none."""
        status: int | None = self._last.status
        return status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of this thread's last response."""
        headers: Mapping[str, str] = self._last.headers
        return headers

    @property
    def proxy_hint(self) -> str:
        """See `Transport.proxy_hint`."""
        return self._session.transport(self.address).proxy_hint

    def close(self) -> None:
        """Close the connections. Requests in flight fail."""
        self._session.close()


def _make_exchange(market: Market, session: "_Session", last: threading.local) -> Any:
    base: Any = getattr(ccxt, market.exchange_id)

    class Exchange(base):  # type: ignore[misc]
        def on_rest_response(
            self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *_: Any
        ) -> str:
            last.status, last.headers = code, headers
            return body

        def parse_json(self, http_response: str) -> Any:
            # Klines stay text: where there is no JSON, ccxt returns the body, and we parse it three times as fast.
            return None if http_response.startswith("[[") else super().parse_json(http_response)

    return Exchange({"enableRateLimit": False, "session": session})


class _Session:
    """The part of a `requests.Session` that ccxt uses, over a `Transport` per address."""

    def __init__(self, connections: int, deadline_s: float) -> None:
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self._connections, self._deadline_s = connections, deadline_s
        self._transports: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def transport(self, address: str) -> Transport:
        origin = "/".join(address.split("/", 3)[:3])
        with self._lock:
            if origin not in self._transports:
                self._transports[origin] = Transport(origin, connections=self._connections, deadline_s=self._deadline_s)
            return self._transports[origin]

    def request(
        self, method: str, url: str, *, data: bytes | None, headers: Mapping[str, str], **_: Any
    ) -> "_SessionResponse":
        transport = self.transport(url)
        path = url[len(transport.origin) :]
        endpoint = path.partition("?")[0].rpartition("/")[2]
        most_bytes = _MOST_BYTES.get(endpoint, _MOST_BYTES_OF_OTHERS)
        response = transport.request(path, most_bytes=most_bytes, method=method, headers=headers, body=data)
        return _SessionResponse(response, url)

    def close(self) -> None:
        with self._lock:
            for transport in self._transports.values():
                transport.close()


class _SessionResponse:
    """The part of a `requests.Response` that ccxt uses."""

    encoding = "utf-8"

    def __init__(self, response: Response, url: str) -> None:
        self.status_code, self.reason = response.status, response.reason
        self.headers, self.content = response.headers, response.body
        self.text = response.body.decode("utf-8", "replace")
        self._url = url

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            # ccxt looks for this class, and then at the response, for the exchange's own error.
            raise HTTPError(f"HTTP {self.status_code} of {self._url}")
