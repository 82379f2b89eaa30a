"""The files that pages load: style, scripts, and the chart library that the plotly package brings along.

Belongs here: which files there are, how long a browser may keep them. Does not belong here: pages.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import Request, Response

_HERE = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
CHART_LIBRARY = "plotly.min.js"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file; `tag` changes with its content."""

    content: bytes
    media_type: str
    tag: str


def names() -> list[str]:
    """What there is."""
    return [*sorted(path.name for path in _HERE.iterdir() if path.suffix in _TYPES), CHART_LIBRARY]


@cache
def static_file(name: str) -> StaticFile:
    """The file, one of `names`."""
    path = files("plotly.package_data") / CHART_LIBRARY if name == CHART_LIBRARY else _HERE / name
    content = path.read_bytes()
    tag = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(content, _TYPES[Path(name).suffix], tag)


@cache
def _gzipped(name: str) -> bytes:
    # Once, and only when asked for: the chart library has 4.6 MB, which takes a while.
    return gzip.compress(static_file(name).content, 6, mtime=0)


def versioned(name: str) -> str:
    """The URL of a file, another one when its content is another."""
    return f"/static/{name}?v={static_file(name).tag}"


def answer(request: Request, name: str) -> Response:
    """The file, compressed where the client takes that; 304 if it has it already."""
    file = static_file(name)
    known = request.query_params.get("v") == file.tag
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if known else "no-cache",
        "ETag": f'"{file.tag}"',
        "Vary": "Accept-Encoding",
    }
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_gzipped(name), media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=headers)
