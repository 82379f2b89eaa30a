"""Errors as the API answers them: problem details, RFC 9457, `application/problem+json`.

Belongs here: which error is which status, and how it is worded. Does not belong here: raising them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from market_data_pipeline.api.dagster_client import DagsterUnavailable
from market_data_pipeline.core.errors import MarketDataError, SourceUnavailable, StoreError, UsageError

MEDIA_TYPE = "application/problem+json"
# The first class that fits counts.
_STATUSES: Sequence[tuple[type[MarketDataError], int, str]] = (
    (UsageError, 422, "The request cannot be done"),
    (DagsterUnavailable, 503, "Dagster is not available"),
    (SourceUnavailable, 503, "The exchange is not available"),
    (StoreError, 500, "The store is not as it should be"),
    (MarketDataError, 502, "The exchange answered otherwise than expected"),
)


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="its name", examples=["start"])
    problem: str = Field(description="what is wrong with it, and what to give instead")


class ProblemDetails(BaseModel):
    """An error, RFC 9457."""

    type: str = Field(default="about:blank", description="always about:blank: the status says which kind it is")
    title: str = Field(description="the kind of error", examples=["The request cannot be done"])
    status: int = Field(description="the HTTP status", examples=[422])
    detail: str = Field(description="what happened and what to do, one line")
    errors: list[FieldProblem] = Field(default=[], description="the fields that are wrong")


class Problem(Exception):
    """An error with a status of its own."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = headers
        self.details = ProblemDetails(title=title, status=status, detail=detail, errors=list(errors))


def answer(details: ProblemDetails, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response."""
    content = details.model_dump(exclude_defaults=True) | {"type": details.type}
    return JSONResponse(content, details.status, media_type=MEDIA_TYPE, headers=headers)


def handle_all(app: FastAPI) -> None:
    """Let every error of the app be answered so."""

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> JSONResponse:
        return answer(error.details, error.headers)

    @app.exception_handler(MarketDataError)
    def _ours(request: Request, error: MarketDataError) -> JSONResponse:
        status, title = next((status, title) for kind, status, title in _STATUSES if isinstance(error, kind))
        return answer(ProblemDetails(title=title, status=status, detail=" ".join(str(error).split())))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [FieldProblem(field=_name(one["loc"]), problem=_words(one)) for one in error.errors()]
        said = "; ".join(f"{one.field}: {one.problem}" for one in found)
        return answer(ProblemDetails(title="The request is not valid", status=422, detail=said, errors=found))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        title = {404: "There is nothing here", 405: "The method is not allowed here"}.get(error.status_code, "Refused")
        details = ProblemDetails(title=title, status=error.status_code, detail=str(error.detail))
        return answer(details, error.headers)

    @app.exception_handler(Exception)
    def _ours_alone(request: Request, error: Exception) -> JSONResponse:
        # Starlette still raises it for the server's log, where the traceback belongs.
        detail = f"{type(error).__name__}; the log of the API has more. This is a defect of market_data_pipeline"
        return answer(ProblemDetails(title="Internal error", status=500, detail=detail))


def _name(place: Sequence[Any]) -> str:
    """`start` of `("body", "start")`; the body itself where it is no field."""
    return ".".join(str(part) for part in place[1:]) or str(place[0])


def _words(error: Mapping[str, Any]) -> str:
    said = str(error["msg"]).removeprefix("Value error, ")
    return said if len(said) <= 500 else f"{said[:500]}…"
