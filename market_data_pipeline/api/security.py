"""Protection against other machines, and against pages of other sites in the browser of a user.

Belongs here: the token, host names, origins, security headers, the size of a request. Does not belong here: which files
may be read (`pages.stored_files`), whether a request is valid (`models`).
"""

import hmac
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_data_pipeline.api.context import InjectedContext
from market_data_pipeline.api.problems import Problem, ProblemDetails, problem_response

_MOST_BYTES = 64 * 1024
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_HEADERS = {
    # Plotly sets inline styles. Scripts are allowed from this server only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


_Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(scheme_name="token", description="needed where MARKET_DATA_API_TOKEN is set", auto_error=False)),
]


def require_token(context: InjectedContext, credentials: _Credentials) -> None:
    """Refuse a request without the token, where MARKET_DATA_API_TOKEN is set. All changing routes depend on it.

    Raises:
        Problem: the token is missing or wrong (401).
    """
    token = context.settings.market_data_api_token
    sent = credentials.credentials if credentials else ""
    # The time of an ordinary comparison depends on how many leading characters are right.
    if token and not hmac.compare_digest(sent.encode(), token.get_secret_value().encode()):
        detail = "send the header `Authorization: Bearer <MARKET_DATA_API_TOKEN>`"
        raise Problem(401, "A token is needed", detail, headers={"WWW-Authenticate": "Bearer"})


class Guard:
    """ASGI middleware around the whole app: refuses requests by their headers, and adds headers to responses."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None) -> None:
        """Guard the app.

        Args:
            app: the app.
            hosts: the host names that requests may have beside those of this machine, None for any name. With a list,
                a page of a site whose DNS name points to this machine (DNS rebinding) is refused.
        """
        self._app = app
        self._hosts = None if hosts is None else set(hosts) | _LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if location := headers.get("location"):
                    # Starlette redirects to the host that it was called by: of a proxy, which no browser may reach.
                    headers["location"] = urlsplit(location)._replace(scheme="", netloc="").geturl()
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused_host(headers)
        if refused is None and scope["method"] in _CHANGING:
            refused = _refused_origin(headers) or _refused_size(headers)
        if refused:
            await problem_response(refused)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)

    def _refused_host(self, headers: Headers) -> ProblemDetails | None:
        name = _host_of(headers.get("host", ""))
        if self._hosts is None or name in self._hosts:
            return None
        # Starlette's TrustedHostMiddleware responds with plain text that names no remedy.
        detail = "this API serves this machine only; call it as 127.0.0.1 or localhost, and let a proxy call it so"
        return ProblemDetails(title="Unknown host", status=400, detail=detail)


def _host_of(header: str) -> str:
    """The name in a Host header, in lower case, without the port; an IPv6 address with its brackets."""
    return header.rpartition("]")[0] + "]" if header.startswith("[") else header.partition(":")[0].lower()


def _refused_origin(headers: Headers) -> ProblemDetails | None:
    """Refuse requests of other sites' pages. Browsers send these headers; other programs send neither."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # Behind a proxy the host is the one that the proxy calls, and the origin the one in the browser. No page can write
    # this header, and browsers send it over TLS.
    if site == "same-origin":
        return None
    is_ours = origin is None or _host_in(origin) == headers.get("host", "").lower()
    if is_ours and site in {None, "none"}:
        return None
    detail = "a page of another site sent this request; open /browse and do it there"
    return ProblemDetails(title="Cross-site request", status=403, detail=detail)


def _host_in(origin: str) -> str | None:
    """The host and port of an origin, in lower case; None if it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _refused_size(headers: Headers) -> ProblemDetails | None:
    # A body with a transfer encoding, in whatever spelling, may be longer than Content-Length says.
    lengths = headers.getlist("content-length") or ["0"]
    if "transfer-encoding" not in headers and all(_is_small(length) for length in lengths):
        return None
    detail = f"send at most {_MOST_BYTES} bytes, and their number in Content-Length"
    return ProblemDetails(title="The request is too large", status=413, detail=detail)


def _is_small(length: str) -> bool:
    """True if it is a decimal number of at most `_MOST_BYTES`; Python itself refuses to parse thousands of digits."""
    return length.isascii() and length.isdecimal() and len(length) <= 20 and int(length) <= _MOST_BYTES
