"""One market of the exchange through ccxt's raw methods: an endpoint called, its answer as text or JSON.

Belongs here: what we rely on in ccxt, and the addresses it calls. Does not belong here: what an answer means, retries
(`rest_client`).

ccxt's own limiter is off: it would halve the futures budget and knows nothing of other processes (docs/decisions).
ccxt turns 451 into an error that looks like a passing one, so the status of each answer is kept per thread.
"""

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import ccxt
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.proxies import way_to

# The market's names of the endpoints; ccxt makes its methods of them.
_METHODS = {
    Market.SPOT: {"klines": "publicGetKlines", "time": "publicGetTime", "exchangeInfo": "publicGetExchangeInfo"},
    Market.FUTURES: {
        "klines": "fapiPublicGetKlines",
        "time": "fapiPublicGetTime",
        "exchangeInfo": "fapiPublicGetExchangeInfo",
    },
}


class RawExchange:
    """The raw methods of one market. Threads may share it."""

    def __init__(self, market: Market, *, base_url: str | None, timeout_s: float, connections: int) -> None:
        """Nothing is sent yet.

        Args:
            market: the market.
            base_url: replaces the exchange's own address.
            timeout_s: how long an answer is waited for.
            connections: how many are kept open.
        """
        self._market = market
        self._answer = threading.local()
        self._exchange = _made(market, self._answer)
        self._exchange.timeout = round(timeout_s * 1000)
        for scheme in ("http://", "https://"):
            self._exchange.session.mount(scheme, HTTPAdapter(pool_maxsize=connections))
        url = urlsplit(self._exchange.urls["api"]["public" if market is Market.SPOT else "fapiPublic"])
        self.address = f"{url.scheme}://{url.netloc}"
        if base_url:
            self.redirect(base_url)
        else:
            self._read_environment()

    def redirect(self, base_url: str) -> None:
        """Call another address from now on."""
        self.address = base_url
        self._exchange.urls["api"]["public"] = f"{base_url.rstrip('/')}/api/v3"
        self._exchange.urls["api"]["fapiPublic"] = f"{base_url.rstrip('/')}/fapi/v1"
        self._read_environment()

    def _read_environment(self) -> None:
        # Looked at once; requests would look at each request.
        session, self.way = self._exchange.session, way_to(self.address)
        session.trust_env, session.verify = False, self.way.certificates or True
        session.proxies = {urlsplit(self.address).scheme: self.way.proxy} if self.way.proxy else {}

    def call(self, endpoint: str, params: dict[str, Any]) -> Any:
        """The answer of an endpoint: JSON, or for klines the text.

        Raises:
            ccxt.BaseError: no answer, or one that is an error; `status` tells which.
        """
        self._answer.status, self._answer.headers = None, {}
        return getattr(self._exchange, _METHODS[self._market][endpoint])(params)

    @property
    def status(self) -> int | None:
        """The HTTP status of this thread's last answer, None if there was none."""
        status: int | None = self._answer.status
        return status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of this thread's last answer."""
        headers: Mapping[str, str] = self._answer.headers
        return headers

    def close(self) -> None:
        """Let go of the connections that are not in use."""
        if self._exchange.session:
            self._exchange.session.close()


def _made(market: Market, answer: threading.local) -> Any:
    base: Any = getattr(ccxt, market.exchange_id)

    class Exchange(base):  # type: ignore[misc]
        def on_rest_response(
            self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *_: Any
        ) -> str:
            answer.status, answer.headers = code, headers
            return body

        def parse_json(self, http_response: str) -> Any:
            # Klines stay text: ccxt hands out the body where there is no JSON, and we read it three times as fast.
            return None if http_response.startswith("[[") else super().parse_json(http_response)

    return Exchange({"enableRateLimit": False, "session": _Session()})


class _Session(requests.Session):
    """Sends what ccxt asks for without what no public endpoint needs: cookies, redirects, authentication, hooks.

    They are half of what requests costs for each answer, and live mode has a hundred pairs to ask within a second.
    """

    def request(  # type: ignore[override]  # what ccxt gives, and nothing more
        self,
        method: str,
        url: str,
        *,
        data: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
        proxies: None,
        verify: bool,
        files: None,
    ) -> requests.Response:
        del proxies, files  # there are none
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, url, data
        prepared.headers = CaseInsensitiveDict(headers)
        response = self.get_adapter(url).send(
            prepared, timeout=timeout, verify=verify and (self.verify or False), proxies=dict(self.proxies)
        )
        _ = response.content  # read now, so that the connection is free for others
        return response
