"""The format of a scenario: its keys, their types, and what is wrong with one in a line.

Belongs here: models of the JSON, and the errors of a person who wrote it. Does not belong here: what the keys do
(`lives`, `failures`).
"""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from market_data_pipeline.simulator.data.clock import MINUTE_MS
from market_data_pipeline.simulator.faults import FAULTS, KNOWN_FAULTS

_ONLY_FUTURES = {"deliveryDate", "contractType"}
_LATEST_MS = 253_402_300_800_000


class ScenarioError(ValueError):
    """A scenario that cannot be played; the text says in one line what is wrong, and where."""


def _instant(value: Any) -> int:
    """Read an ISO time with its zone, or ms since the epoch."""
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is no ISO time such as 2024-05-01T00:00Z") from None
        if read.tzinfo is None:
            raise ValueError("has no time zone; write 2024-05-01T00:00Z")
        value = round(read.timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LATEST_MS:
        raise ValueError("is no time; write 2024-05-01T00:00Z, or ms since 1970")
    return value


def _minute(value: Any) -> int:
    instant = _instant(value)
    if instant % MINUTE_MS:
        raise ValueError("is not a whole minute")
    return instant


def _day(value: Any) -> str:
    try:
        if isinstance(value, str) and date.fromisoformat(value).isoformat() == value:
            return value
    except ValueError:
        pass
    raise ValueError("is no day such as 2024-05-01")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


def _pair_of(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("is not a list of two times, the first minute and the one after the last")
    return tuple(value)


def _row(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value or type(value[0]) is not int or not 0 <= value[0] < _LATEST_MS:
        raise ValueError("is not a list of fields that begins with the open time in ms")
    return list(value)


def _symbol(value: str) -> str:
    if not value or any(char.isspace() or not char.isprintable() or char in '/?#&=%"\\' for char in value):
        raise ValueError("is no symbol of an exchange, such as BTCUSDT")
    return value


Instant = Annotated[int, BeforeValidator(_instant)]
Minute = Annotated[int, BeforeValidator(_minute)]
Day = Annotated[str, BeforeValidator(_day)]
Symbol = Annotated[str, BeforeValidator(_symbol)]
Span = Annotated[tuple[Minute, Minute], BeforeValidator(_pair_of)]
Row = Annotated[list[Any], BeforeValidator(_row)]
Status = Annotated[int, Field(ge=200, le=599)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OldLife(_Strict):
    """An earlier contract of the same symbol, which only the archive knows: its first and its last minute."""

    first: Minute
    last: Minute

    @model_validator(mode="after")
    def _in_order(self) -> "OldLife":
        if self.last < self.first:
            raise ValueError("last lies before first")
        return self


class KlinesError(_Strict):
    """What klines requests are refused with."""

    status: Status
    body: Any = None
    headers: dict[str, str] = {}


def _klines_error(value: Any) -> Any:
    """Read [status, body] or [status, body, headers]."""
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= 3:
        raise ValueError("is not a list of HTTP status, body, and headers if there are some")
    return dict(zip(("status", "body", "headers"), value, strict=False))


class LifeSpec(_Strict):
    """One pair on one market."""

    first: Minute = _minute("2020-01-01T00:00Z")
    last: Minute | None = None
    gaps: list[Span] = []
    flat: list[Span] = []
    rows: list[Row] = []
    price: Annotated[float, Field(gt=0, le=1e9)] | None = None
    status: str = "TRADING"
    base: str | None = None
    quote: str | None = None
    contractType: str = "PERPETUAL"  # noqa: N815 - the exchange's own word
    deliveryDate: Instant | None = None  # noqa: N815
    hidden: bool = False
    unlisted: bool = False
    klines_error: Annotated[KlinesError, BeforeValidator(_klines_error)] | None = None
    archive: bool = True
    archive_first: Day | None = None
    archive_last: Day | None = None
    archive_missing: list[Day] = []
    archive_text: dict[Day, str] = {}
    archive_rows: list[Row] = []
    archive_only: Annotated[list[OldLife], BeforeValidator(_as_list)] = []

    @model_validator(mode="after")
    def _in_order(self) -> "LifeSpec":
        if self.last is not None and self.last < self.first:
            raise ValueError("last lies before first")
        for name in ("gaps", "flat"):
            for start, end in getattr(self, name):
                if end <= start:
                    raise ValueError(f"{name} has a span that ends where it starts, or before")
        return self


class FailSpec(_Strict):
    """Requests that fail: with a status, or with a fault of the list of faults."""

    path: str
    symbol: str | None = None
    area: Literal["spot", "futures", "archive", "listing"] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    status: Status | None = None
    body: str = ""
    type: str = "application/json"
    headers: dict[str, str] = {}
    fault: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "FailSpec":
        if (self.status is None) == (self.fault is None):
            raise ValueError("give a status or a fault, and not both")
        if self.fault is not None and self.fault not in FAULTS:
            raise ValueError(f"there is no fault {self.fault!r}; {KNOWN_FAULTS}")
        return self


class ScenarioSpec(_Strict):
    """A whole scenario."""

    now: Instant | None = None
    speed: Annotated[float, Field(ge=0, le=1e6)] | None = None
    spot: dict[Symbol, LifeSpec] = {}
    futures: dict[Symbol, LifeSpec] = {}
    fail: list[FailSpec] = []

    @model_validator(mode="after")
    def _spot_has_no_contracts(self) -> "ScenarioSpec":
        for symbol, life in self.spot.items():
            wrong = sorted(_ONLY_FUTURES & life.model_fields_set)
            if wrong:
                raise ValueError(f"spot.{symbol}.{wrong[0]}: only pairs of futures have it")
        return self


def read_json(text: str) -> Any:
    """Parse JSON and nothing else: no key twice, no NaN.

    Raises:
        ScenarioError: it is not JSON, or has one of these.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ScenarioError(f"the key {key!r} is there twice in one object")
            found[key] = value
        return found

    def refused(constant: str) -> NoReturn:
        raise ScenarioError(f"{constant} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refused)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ScenarioError("it is nested too deeply") from None


def check(document: Any) -> ScenarioSpec:
    """Return the scenario that a document tells.

    Raises:
        ScenarioError: a key is unknown, or a value is not what its key takes; the text names the first one.
    """
    try:
        return ScenarioSpec.model_validate(document)
    except ValidationError as error:
        raise ScenarioError(_first_problem(error)) from None


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    steps = [step for step in first["loc"] if step != "[key]"]
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = f"unknown key; {_known_keys(steps)}"
    elif first["type"] != "value_error":
        what = f"{what[0].lower()}{what[1:]}, not {_shortened(first['input'])}"
    elif steps and not isinstance(first["input"], Mapping | BaseModel):
        what = f"{_shortened(first['input'])} {what}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {what}{more}" if where else f"{what}{more}"


def _known_keys(steps: list[Any]) -> str:
    model: type[BaseModel] = ScenarioSpec
    if "archive_only" in steps[:-1]:
        model = OldLife
    elif steps[0] in ("spot", "futures") and len(steps) > 1:
        model = LifeSpec
    elif steps[0] == "fail" and len(steps) > 1:
        model = FailSpec
    return f"known keys: {', '.join(model.model_fields)}"


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
