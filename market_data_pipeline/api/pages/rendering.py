"""How pages are made: templates, and how numbers, sizes and times are written in them.

Belongs here: words and formats that several pages share, the page of an error. Does not belong here: what is on a page
(`browse`), HTML (`templates`).
"""

import html
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from market_data_pipeline.api.pages.calendar import Cell
from market_data_pipeline.api.pages.static import static_url
from market_data_pipeline.api.problems import Problem
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.text import size_text

_HOUR, _DAY = 60, 1440


def render(template: str, *, http_status: int = 200, **content: Any) -> HTMLResponse:
    """A page."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(**content), http_status)


class PageRoute(APIRoute):
    """A route whose errors are pages too, with the words of the API, for whoever accepts HTML."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except (Problem, MarketDataError, RequestValidationError) as error:
                if "text/html" not in request.headers.get("accept", ""):
                    raise
                return await _error_page(request, error)

        return handled


async def _error_page(request: Request, error: Exception) -> Response:
    handlers = request.app.exception_handlers
    answer = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)(request, error)
    if isawaitable(answer):
        answer = await answer
    return render("error.html", http_status=answer.status_code, problem=json.loads(answer.body))


def query(**values: Any) -> str:
    """A query string of what is not None."""
    return urlencode({name: value for name, value in values.items() if value is not None}, safe="/:")


def number(value: float) -> str:
    """A value as the file has it, to the last digit, without an exponent."""
    text = repr(value)
    if "e" in text:
        text = np.format_float_positional(value, trim="-")
    return text.removesuffix(".0")


def ago(minutes: int) -> str:
    """A number of minutes in the unit that fits."""
    if minutes < 2 * _HOUR:
        return f"{minutes} min"
    return f"{minutes // _HOUR} h" if minutes < 2 * _DAY else f"{minutes // _DAY:,} days"


def moment(seconds: float | None) -> str:
    """Seconds since 1970 as `2024-03-31 12:00:05 UTC`; nothing for None."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def newest(open_ms: int) -> str:
    """An open time as `2024-03-31 12:00 UTC`."""
    return iso(open_ms).replace("T", " ").replace("Z", " UTC")


def lag_minutes(since_ms: int | None, now_ms: int) -> int | None:
    """How many closed minutes are not stored, None if nothing is."""
    return None if since_ms is None else max(0, (now_ms // MINUTE_MS * MINUTE_MS - since_ms) // MINUTE_MS)


# The next two are HTML outside of templates, where a page's thousands of cells take several times as long.
def day_cells(cells: Iterable[Cell | None], links: Mapping[str, str]) -> Markup:
    """The days of a month; `links` has the URL of each day that has a file."""
    return Markup("".join(f"<td>{_day(cell, links.get(cell.day)) if cell else ''}</td>" for cell in cells))


def _day(cell: Cell, link: str | None) -> str:
    text, state = html.escape(cell.text), cell.state.value
    if link is None:
        return f'<span class="cell {state}" role="img" aria-label="{text}" title="{text}"></span>'
    return f'<a class="cell {state}" href="{html.escape(link)}" title="{text}"></a>'


def value_cells(values: Iterable[str]) -> Markup:
    """The values of a row."""
    return Markup("".join(f'<td class="n">{html.escape(value)}</td>' for value in values))


def _json(content: Any, **_options: Any) -> str:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "thousands": "{:,}".format,
        "size": size_text,
        "moment": moment,
        "newest": newest,
        "ago": ago,
        "values": value_cells,
    }
    made.globals |= {"query": query, "static": static_url, "day_cells": day_cells}
    # The filter `tojson` escapes what would end a script; numpy's arrays and NaN are beyond Python's json.
    made.policies["json.dumps_function"] = _json
    return made


_TEMPLATES = _environment()
