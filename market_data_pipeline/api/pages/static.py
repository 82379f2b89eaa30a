"""The files that pages load: style, scripts, and the chart library that the plotly package contains.

Belongs here: which files are served, and how long a browser keeps them. Does not belong here: pages (`browse`).
"""

import hashlib
import os
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

_FOLDER = Path(__file__).parent / "static"
_CHART_LIBRARY = "plotly.min.js"
# Starlette takes types from the system's table, and on Windows any program may have changed that of `.js`.
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# The chart library has 4.9 MB: 1.5 MB at this level, for 0.13 s of CPU. A browser requests it once a year.
_COMPRESSION_LEVEL = 6


class _PageFiles(StaticFiles):
    """Only the files that pages load: the rest of the plotly package is not served."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER, packages=[("plotly", "package_data")])
        self._names = {path.name for path in _FOLDER.iterdir() if path.suffix in _TYPES} | {_CHART_LIBRARY}

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """See Starlette."""
        if path not in self._names:
            raise HTTPException(404, "there is no such file")
        return super().lookup_path(path)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """See Starlette. A browser keeps a URL of `static_url` for a year and revalidates any other each time."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        path = Path(full_path)
        is_versioned = Request(scope).query_params.get("v") == _version(path)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_versioned else "no-cache"
        if response.status_code == 304:
            # The middleware names it only in responses with a body.
            response.headers["Vary"] = "Accept-Encoding"
        else:
            response.headers["Content-Type"] = _TYPES[path.suffix]
        return response


_FILES = _PageFiles()


def static_files() -> ASGIApp:
    """The app that serves the files, compressed for clients that accept gzip. Mount it at `/static`."""
    return GZipMiddleware(_FILES, compresslevel=_COMPRESSION_LEVEL)


def static_url(name: str) -> str:
    """The URL of a file, with a version that changes with the file's content."""
    return f"/static/{name}?v={_version(Path(_FILES.lookup_path(name)[0]))}"


@cache
def _version(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
