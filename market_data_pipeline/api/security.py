"""What a browser or a stranger may not do.

Belongs here: the token, requests from other sites, headers, the size of a request. Does not belong here: which files
may be read (`browse`), whether a request makes sense (`models`).
"""

import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market_data_pipeline.api.problems import ProblemDetails, answer

MOST_BYTES = 64 * 1024
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_HEADERS = {
    # Plotly sets styles of elements; scripts come from here and nowhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, token: SecretStr | None, hosts: Sequence[str] | None) -> None:
        """Guard the app.

        Args:
            app: the app.
            token: what changing requests have to bear, None for nothing.
            hosts: the names under which it may be called, None for any. A name that someone else's DNS points to this
                machine is not among them, so no page of theirs can speak for the person who sees it.
        """
        self._app = app
        self._token = token.get_secret_value() if token else None
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
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused_host(headers)
        if refused is None and scope["method"] in _CHANGING:
            refused = _refused_origin(headers) or self._refused_token(headers) or _refused_size(headers)
        if refused:
            extra = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
            await answer(refused, extra)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)

    def _refused_host(self, headers: Headers) -> ProblemDetails | None:
        name = _host_of(headers.get("host", ""))
        if self._hosts is None or name in self._hosts:
            return None
        detail = "this API is bound to this machine; call it as 127.0.0.1 or localhost"
        return ProblemDetails(title="Unknown host", status=400, detail=detail)

    def _refused_token(self, headers: Headers) -> ProblemDetails | None:
        if self._token is None:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return None
        detail = "send the header `Authorization: Bearer <MARKET_DATA_API_TOKEN>`"
        return ProblemDetails(title="A token is needed", status=401, detail=detail)


def _host_of(header: str) -> str:
    """The name without the port."""
    return header.rpartition("]")[0] + "]" if header.startswith("[") else header.partition(":")[0].lower()


def _refused_origin(headers: Headers) -> ProblemDetails | None:
    """Browsers say where a request comes from; programs send neither header."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site not in {None, "same-origin", "none"}
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        foreign = True
    if not foreign:
        return None
    detail = "a page of another site sent this request; open /browse and do it there"
    return ProblemDetails(title="Cross-site request", status=403, detail=detail)


def _refused_size(headers: Headers) -> ProblemDetails | None:
    said = headers.get("content-length", "0")
    if "chunked" not in headers.get("transfer-encoding", "") and said.isdigit() and int(said) <= MOST_BYTES:
        return None
    detail = f"send at most {MOST_BYTES} bytes, with their number in Content-Length"
    return ProblemDetails(title="The request is too large", status=413, detail=detail)
