"""Error responses: problem details, RFC 9457, with the media type `application/problem+json`.

Belongs here: the HTTP status and title of each error. Does not belong here: raising errors.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from market_data_pipeline.api.dagster_client import DagsterUnavailable
from market_data_pipeline.core.errors import (
    MarketDataError,
    SourceError,
    SourceUnavailable,
    StoreError,
    StoreUnavailable,
    UsageError,
)
from market_data_pipeline.core.text import refusal_of_disk

MEDIA_TYPE = "application/problem+json"
_DISK, _BUCKET = "The disk is not available", "The object store is not available"
# The first class that the error is an instance of decides.
_STATUSES: Sequence[tuple[type[MarketDataError], int, str]] = (
    (UsageError, 422, "The request cannot be done"),
    (DagsterUnavailable, 503, "Dagster is not available"),
    (SourceUnavailable, 503, "The exchange is not available"),
    (StoreUnavailable, 503, _DISK),
    (StoreError, 500, "The store is damaged"),
    (SourceError, 502, "The exchange sent an unexpected response"),
    (MarketDataError, 500, "The request failed"),
)


class FieldProblem(BaseModel):
    """A field of a request that is wrong."""

    field: str = Field(description="the name of the field", examples=["start"])
    problem: str = Field(description="what is wrong with it, and what to send instead")


class ProblemDetails(BaseModel):
    """An error response, RFC 9457."""

    type: str = Field(
        default="about:blank", description="always about:blank, which means that the status is the kind of error"
    )
    title: str = Field(description="the kind of error", examples=["The request cannot be done"])
    status: int = Field(description="the HTTP status", examples=[422])
    detail: str = Field(description="what happened and what to do, one line")
    errors: list[FieldProblem] = Field(default=[], description="the fields that are wrong")


class Problem(Exception):
    """An error with an HTTP status and title of its own."""

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


def problem_response(details: ProblemDetails, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The details as a response."""
    content = details.model_dump(exclude_defaults=True) | {"type": details.type}
    return JSONResponse(content, details.status, media_type=MEDIA_TYPE, headers=headers)


def handle_all(app: FastAPI) -> None:
    """Make the app respond to every error with problem details."""

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> JSONResponse:
        return problem_response(error.details, error.headers)

    @app.exception_handler(MarketDataError)
    def _market_data_error(request: Request, error: MarketDataError) -> JSONResponse:
        status, title = next((status, title) for kind, status, title in _STATUSES if isinstance(error, kind))
        if title == _DISK and isinstance(error.__cause__, OSError) and "://" in str(error.__cause__.filename):
            title = _BUCKET
        return problem_response(ProblemDetails(title=title, status=status, detail=" ".join(str(error).split())))

    @app.exception_handler(OSError)
    def _os_error(request: Request, error: OSError) -> JSONResponse:
        title = _BUCKET if "://" in str(error.filename) else _DISK
        detail = " ".join(refusal_of_disk(error).replace("that you may write", "that the API may write").split())
        return problem_response(ProblemDetails(title=title, status=503, detail=detail))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = [FieldProblem(field=_field(one["loc"]), problem=_problem_text(one)) for one in error.errors()]
        detail = "; ".join(f"{one.field}: {one.problem}" for one in fields)
        return problem_response(
            ProblemDetails(title="The request is not valid", status=422, detail=detail, errors=fields)
        )

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        title = {404: "There is nothing here", 405: "The method is not allowed here"}.get(error.status_code, "Refused")
        details = ProblemDetails(title=title, status=error.status_code, detail=str(error.detail))
        return problem_response(details, error.headers)

    @app.exception_handler(Exception)
    def _defect(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises the error again after this response, so that its traceback is in the log of the server.
        detail = f"{type(error).__name__}; the log of the API has more. This is a defect of market_data_pipeline"
        return problem_response(ProblemDetails(title="Internal error", status=500, detail=detail))


def _field(location: Sequence[Any]) -> str:
    """`start` for `("body", "start")`; `body` for the body itself and for a position in it that is not JSON."""
    return ".".join(part for part in location[1:] if isinstance(part, str)) or str(location[0])


def _problem_text(error: Mapping[str, Any]) -> str:
    """The message of a validation error, at most 500 characters of it."""
    if error["type"] == "json_invalid":
        return f"not JSON: {error['ctx']['error']} at character {error['loc'][1]}"
    text = str(error["msg"]).removeprefix("Value error, ")
    return text if len(text) <= 500 else f"{text[:500]}…"
