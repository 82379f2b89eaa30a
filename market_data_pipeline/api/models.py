"""The bodies of requests and responses, field by field with examples; FastAPI makes the OpenAPI document of them.

Belongs here: names, types and valid values of single fields. Does not belong here: what fields mean together (`app`).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from market_data_pipeline.core.klines.days import parse_instant, parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.klines.patterns import is_pattern
from market_data_pipeline.core.loading.day import MOST_ROW_GROUP_ROWS
from market_data_pipeline.core.source_names import SourceName
from market_data_pipeline.validators import read_by

_UTC = parse_zone("UTC")
MarketName = Annotated[Literal["spot", "futures"], Field(description="MARKET_TYPE if not given", examples=["futures"])]
PairName = Annotated[
    str,
    Field(max_length=80, description="BASE/QUOTE or the exchange's symbol; SYMBOL if not given", examples=["BTC/USDT"]),
    read_by(parse_pair),
]
ZoneName = Annotated[
    str,
    Field(max_length=60, description="IANA zone or ±HH:MM; ALIGN_TZ if not given", examples=["Europe/Zurich"]),
    read_by(parse_zone),
]
Instant = Annotated[str, Field(max_length=40), read_by(lambda text: parse_instant(text, _UTC))]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    market: MarketName | None = None
    pair: PairName | None = None


PairWord = Annotated[str, Field(min_length=1, max_length=80, examples=["BTC/USDT", "*/USDT", "!*DOWN/*"])]
PairWords = Annotated[
    list[PairWord],
    Field(min_length=1, max_length=1000, description="pairs, globs, and what to leave out, instead of `pair`"),
]
UniverseName = Annotated[
    str, Field(min_length=1, max_length=100, description="the pairs of [universe.NAME] in market-data.toml, too")
]
LiveWord = Annotated[
    str,
    Field(max_length=80, examples=["BTC/USDT", "*/USDT", "!*DOWN/*"]),
    read_by(lambda word: None if is_pattern(word) else parse_pair(word)),
]
LiveWords = Annotated[
    list[LiveWord],
    Field(max_length=1000, description="a pair, SYMBOL if not given; or several pairs, globs, `!` to leave out"),
]


class ManyPairs(_Request):
    """The datasets of a request: that of a pair, or those of many."""

    pairs: PairWords | None = None
    universe: UniverseName | None = None

    @property
    def is_of_many(self) -> bool:
        """True if it names many."""
        return self.pairs is not None or self.universe is not None


class Backfill(ManyPairs):
    """The days to load. No field is required. With `pairs` or `universe` it is a load of many pairs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"market": "futures", "pair": "BTC/USDT", "start": "2024-01-01", "end": "2024-02-01"},
                {"market": "futures", "pairs": ["*/USDT", "!*DOWN/*"], "start": "2024-01-01"},
                {"universe": "usdt-perps"},
            ]
        },
    )

    start: Instant | None = Field(
        default=None,
        description="first instant, a date (midnight in tz) or an ISO time; 2020-01-01T01:00Z if not given",
        examples=["2024-01-01"],
    )
    end: Instant | None = Field(
        default=None,
        description="end, exclusive, a date (midnight in tz) or an ISO time; now if not given",
        examples=["2024-02-01"],
    )
    tz: ZoneName | None = None
    align_window: bool = Field(default=True, description="extend the window to whole days")
    chunk_size: int | None = Field(
        default=None, ge=1, le=MOST_ROW_GROUP_ROWS, description="rows per Parquet row group; the whole day if not given"
    )
    source: SourceName | None = Field(default=None, description="source of the klines; MARKET_DATA_SOURCE if not given")
    refetch: bool = Field(default=False, description="request stored klines again, too")
    strict_pair: bool = Field(default=False, description="refuse a pair that the market does not list")


class StoredPairs(ManyPairs):
    """The datasets of a request about what is stored: a market alone has all of its pairs, no field at all is all."""

    @property
    def is_of_all(self) -> bool:
        """True if it names no pair, but a market at most."""
        return not self.is_of_many and self.pair is None


class Verify(StoredPairs):
    """The datasets to check: that of a pair, many with `pairs` or `universe`, those of a market alone, else all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"market": "futures", "pair": "BTC/USDT"}, {"universe": "usdt-perps"}, {}]},
    )

    repair: bool = Field(default=False, description="load days again that are damaged or have unexplained minutes")


class Report(StoredPairs):
    """The datasets to tell Dagster of: that of a pair, many with `pairs` or `universe`, those of a market, else all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{}, {"market": "futures", "pair": "BTC/USDT"}, {"universe": "usdt-perps"}]},
    )


class Combine(ManyPairs):
    """What to combine."""

    tz: ZoneName | None = None
    from_index: int | None = None
    to_index: int | None = None


class DatasetName(BaseModel):
    """A dataset."""

    market: str = Field(examples=["futures"])
    pair: str = Field(examples=["BTC/USDT"])
    tz: str = Field(description="the time zone of its days", examples=["Europe/Zurich"])


class Started(BaseModel):
    """A run that was started."""

    run_id: str = Field(examples=["0b3a7f0e-5d0c-4c43-8d57-9e0a3f7f2f3b"])
    url: str = Field(description="the run in the Dagster UI")
    status_url: str = Field(description="URL of the run's progress", examples=["/runs/0b3a7f0e"])
    events_url: str = Field(description="URL of its progress as server-sent events", examples=["/runs/0b3a7f0e/events"])
    dataset: DatasetName | None = Field(description="the dataset of the run; null for many or all datasets")
    pairs: int | None = Field(default=None, description="number of pairs of a run of many", examples=[412])
    days: int | None = Field(default=None, description="number of days in the run", examples=[31])
    first_day: str | None = Field(default=None, examples=["2024-01-01"])
    last_day: str | None = Field(default=None, examples=["2024-01-31"])
    warnings: list[str] = Field(
        default=[],
        description="where the result differs from the request, such as another pair; what the catalog lacks",
    )


class Live(BaseModel):
    """Whether live mode keeps a dataset current."""

    dataset: DatasetName
    live: bool
    sensor: str = Field(description="the Dagster sensor that keeps it current", examples=["binanceusdm_live"])
    warnings: list[str] = Field(
        default=[], description="where the result differs from the request, such as another pair"
    )


class LiveDataset(DatasetName):
    """A dataset of a request about many, which live mode keeps current from now on, or does not any more."""

    was_live: bool = Field(description="whether live mode kept it current before")


class LiveMany(BaseModel):
    """Whether live mode keeps the datasets of a request about many pairs current."""

    pairs: int = Field(description="number of datasets", examples=[412])
    live: bool
    sensor: str = Field(description="the Dagster sensor that keeps them current", examples=["binanceusdm_live"])
    datasets: list[LiveDataset] = Field(description="by the words of the request; those of one glob by name")


class CheckResult(BaseModel):
    """The result of an asset check."""

    name: str = Field(examples=["chunks_match_manifest"])
    asset: str = Field(examples=["binanceusdm/BTCUSDT/manifest"])
    passed: bool
    severity: str = Field(description="ERROR or WARN, if the check did not pass")
    description: str | None


class Progress(BaseModel):
    """The progress of a run."""

    run_id: str
    what: str = Field(description="backfill, verify, combine, repair, report or run", examples=["backfill"])
    status: Literal["queued", "running", "success", "failure", "canceled"]
    up_to_date: bool = Field(
        description="whether days, rows, checks and results are of all events that the run has; where they are not, "
        "the next request has more of them",
    )
    url: str = Field(description="the run in the Dagster UI")
    began_s: float | None = Field(description="seconds since 1970, UTC")
    ended_s: float | None = Field(description="seconds since 1970, UTC")
    days_done: int = Field(description="days that the run has loaded, or found complete", examples=[12])
    days_asked: int | None = Field(description="days in the run; null for a run without days", examples=[31])
    rows: int = Field(description="klines in these days")
    pairs_asked: int | None = Field(default=None, description="pairs in a run of many; null for other runs")
    pairs_loaded: int | None = Field(
        default=None,
        description="pairs of a run of many that are done, and got new days or a combined file; null for other runs",
    )
    error: str | None = Field(description="why the run failed or was canceled, in one line")
    warnings: list[str] = Field(description="the last warnings and errors that the run logged, at most 20")
    checks: list[CheckResult] = Field(description="at most 200, those that did not pass first")
    results: dict[str, dict[str, Any]] = Field(
        description="metadata by asset, such as the rows of the combined file; none of a load of many"
    )


class CancelRequested(BaseModel):
    """A run that was requested to end."""

    run_id: str
    status_url: str


class Revised(BaseModel):
    """How often the exchange returned other values for stored klines, and the last time."""

    count: int = Field(examples=[1])
    last: dict[str, str | int] = Field(
        examples=[{"day": "2024-01-05", "at": "2024-01-06T09:12:44Z", "minutes": 3}],
        description="the day, when the change was noticed, the number of minutes",
    )


class Reused(BaseModel):
    """When an earlier pair of the same symbol ended, and the present one began."""

    until: str = Field(examples=["2025-01-31T09:00Z"])
    since: str = Field(examples=["2025-12-23T17:30Z"])


class Status(DatasetName):
    """The numbers of a dataset, from its manifest."""

    model_config = ConfigDict(extra="forbid")

    start: str = Field(description="the dataset's first day", examples=["2020-01-01"])
    first_day: str | None = Field(description="the first day with a chunk", examples=["2020-01-01"])
    last_day: str | None = Field(examples=["2024-01-31"])
    chunks: int = Field(examples=[1492])
    complete_chunks: int = Field(description="chunks in which no minute can still be loaded", examples=[1492])
    rows: int = Field(examples=[2148196])
    bytes: int = Field(examples=[98204417])
    newest_kline: str | None = Field(description="open time, UTC", examples=["2024-01-31T22:59Z"])
    live: bool
    reused: Reused | None = None
    states: dict[str, int] = Field(description="chunks by state", examples=[{"archived": 1491, "confirmed": 1}])
    absent_minutes: dict[str, int] = Field(description="minutes by kind of absence", examples=[{"outage": 284}])
    flaws: int = Field(description="stored values that break a rule, kept as the exchange has them", examples=[2])
    revisions: Revised | None = None
    folder: str
    warnings: list[str]


class UnreadableDataset(BaseModel):
    """A dataset, one of several, that cannot be read."""

    market: str = Field(examples=["futures"])
    pair: str = Field(description="its symbol where `dataset.json` cannot be read", examples=["BTCUSDT"])
    problem: str = Field(description="why, in one line")


class Sign(BaseModel):
    """The result of a check of health."""

    name: str = Field(examples=["exchange"])
    ok: bool
    detail: str


class Health(BaseModel):
    """Whether a load could start now, and whether live datasets are current."""

    ok: bool
    signs: list[Sign]
