"""Pages from templates, and numbers, sizes and times as the text that the pages show.

Belongs here: formats that several pages share, the page of an error. Does not belong here: the content of a page
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
from market_data_pipeline.api.pages.heatmap import Cell as MonthCell
from market_data_pipeline.api.pages.static import static_url
from market_data_pipeline.api.problems import Problem
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.text import age_text, count_text, size_text


def render(template: str, *, http_status: int = 200, **content: Any) -> HTMLResponse:
    """The page that the template makes of `content`."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(**content), http_status)


def prepare() -> None:
    """Compile all templates, so that the first page need not."""
    for name in _TEMPLATES.list_templates():
        _TEMPLATES.get_template(name)


class PageRoute(APIRoute):
    """A route that answers a client that accepts HTML with a page also for an error, with the text of the API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except (Problem, MarketDataError, OSError, RequestValidationError) as error:
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
    """A query string of the values that are not None."""
    return urlencode({name: value for name, value in values.items() if value is not None}, safe="/:")


def number(value: float) -> str:
    """A value with all its digits and without an exponent."""
    text = repr(value)
    if "e" in text:
        text = np.format_float_positional(value, trim="-")
    return text.removesuffix(".0")


def moment(seconds: float | None) -> str:
    """Seconds since 1970 as `2024-03-31 12:00:05 UTC`; an empty text for None."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment_iso(seconds: float) -> str:
    """Seconds since 1970 as `2024-03-31T12:00:05Z`, which a program can read."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def newest(open_ms: int) -> str:
    """An open time as `2024-03-31 12:00 UTC`."""
    return iso(open_ms).replace("T", " ").replace("Z", " UTC")


# The next functions write HTML without a template: a template takes several times as long for thousands of cells.
def day_cells(cells: Iterable[Cell | None], links: Mapping[str, str]) -> Markup:
    """The table cells of a month; `links` has the URL of each day that has a file."""
    return Markup("".join(f"<td>{_day(cell, links.get(cell.day)) if cell else ''}</td>" for cell in cells))


def _day(cell: Cell, link: str | None) -> str:
    text, state = html.escape(cell.text), cell.state.value
    if link is None:
        return f'<span class="cell {state}" role="img" aria-label="{text}" title="{text}"></span>'
    return f'<a class="cell {state}" href="{html.escape(link)}" title="{text}"></a>'


def month_cells(cells: Iterable[MonthCell | None]) -> Markup:
    """The table cells of the months of a dataset."""
    return Markup("".join(map(_month, cells)))


def _month(cell: MonthCell | None) -> str:
    if cell is None:
        return "<td>"
    text = html.escape(cell.text)
    # A reader of screens takes the title for the name only of a cell that has no text.
    label = f' aria-label="{text}"' if cell.mark else ""
    return f'<td class="{cell.state.value}" title="{text}"{label}>{cell.mark}'


def value_cells(values: Iterable[str]) -> Markup:
    """The table cells of the values of a row."""
    return Markup("".join(f'<td class="n">{html.escape(value)}</td>' for value in values))


def _json(content: Any, **_options: Any) -> str:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": "{:,}".format,
        "count_text": count_text,
        "size": size_text,
        "moment": moment,
        "moment_iso": moment_iso,
        "newest": newest,
        "ago": age_text,
        "values": value_cells,
    }
    environment.globals |= {"query": query, "static": static_url, "day_cells": day_cells, "month_cells": month_cells}
    # orjson writes numpy's arrays, and NaN as null. The filter `tojson` then escapes what would end a script element.
    environment.policies["json.dumps_function"] = _json
    return environment


_TEMPLATES = _environment()
