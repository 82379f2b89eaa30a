"""How the environment of this process wants an address to be reached: through which proxy, by whose certificates.

Belongs here: the variables that requests reads (HTTP_PROXY, HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE), and on Windows
and macOS the system's proxy. Does not belong here: requests to the address.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTP_PORT
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Way:
    """How an address is to be reached.

    Attributes:
        proxy: the proxy's address, with its scheme; None for none.
        proxy_headers: what tells the proxy who asks, if its address has a name and a password.
        certificates: a file or a folder of those to trust; None for the usual ones.
    """

    proxy: str | None
    proxy_headers: Mapping[str, str]
    certificates: str | None

    @property
    def remark(self) -> str:
        """What an error says of the way, beginning with a space; never the proxy's name and password."""
        proxy = urlsplit(self.proxy or "")
        return f" through the proxy {proxy.hostname}:{proxy.port or HTTP_PORT}" if self.proxy else ""


def way_to(address: str) -> Way:
    """What the environment says of this address; this machine itself is always reached directly."""
    session = requests.Session()
    session.trust_env = urlsplit(address).hostname not in _LOOPBACK
    found = session.merge_environment_settings(address, {}, None, None, None)
    proxy, certificates = select_proxy(address, found["proxies"]), found["verify"]
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    headers = HTTPAdapter().proxy_headers(proxy) if proxy else {}
    return Way(proxy or None, headers, certificates if isinstance(certificates, str) else None)
