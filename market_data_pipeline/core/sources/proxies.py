"""The proxy and the certificates that the environment of this process names for an address.

Belongs here: what the library requests reads (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, and on
Windows and macOS the system's proxy). Does not belong here: sending requests (`sources.transport`).
"""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """How to reach an address.

    Attributes:
        proxy: the proxy's address without credentials, None to connect directly.
        credentials: the proxy's user name and password.
        certificates: a file or folder of certificates to trust, None for the usual ones.
    """

    proxy: str | None = None
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    certificates: str | None = None

    @property
    def hint(self) -> str:
        """The proxy's host and port for the text of an error, after a space. Empty without a proxy."""
        if not self.proxy:
            return ""
        parts = urlsplit(self.proxy)
        return f" through the proxy {parts.hostname}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, _SOCKS_PORT)}"


def proxy_settings_for(address: str) -> ProxySettings:
    """Read the settings of an address from the environment. The loopback interface never has a proxy.

    Raises:
        ValueError: the proxy's address is not a URL.
    """
    if urlsplit(address).hostname in _LOOPBACK:
        return ProxySettings()
    # Imported here, because a direct connection needs none of it.
    import requests
    from requests.utils import get_auth_from_url, select_proxy, urldefragauth

    found = requests.Session().merge_environment_settings(address, {}, None, None, None)
    certificates = found["verify"] if isinstance(found["verify"], str) else None
    proxy = select_proxy(address, found["proxies"])
    if not proxy:
        return ProxySettings(certificates=certificates)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        user, password = get_auth_from_url(proxy)
        bare = urldefragauth(proxy).rstrip("/")
        if not urlsplit(bare).hostname or urlsplit(bare).port == 0:
            raise ValueError
    except ValueError:
        # Without the original text, which may have a password.
        raise ValueError("the proxy's address is not a URL; check HTTP_PROXY and HTTPS_PROXY") from None
    return ProxySettings(bare, (user, password) if user or password else None, certificates)
