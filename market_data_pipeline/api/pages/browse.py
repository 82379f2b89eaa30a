"""The routes of the browse pages: all datasets, a dataset, its last runs, the rows of a file.

Belongs here: routes of pages, and the content of each page. Does not belong here: requests that change anything
(`routes`), HTML (`templates`), reading files (`catalog`, `preview`).
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from market_data_pipeline.api.context import InjectedContext
from market_data_pipeline.api.dagster_client import DagsterUnavailable
from market_data_pipeline.api.datasets.catalog import DatasetView, Inventory
from market_data_pipeline.api.datasets.verdict import lag_minutes
from market_data_pipeline.api.models import MarketName, PairName
from market_data_pipeline.api.pages import chart, preview
from market_data_pipeline.api.pages import rendering as pages
from market_data_pipeline.api.pages.calendar import DayState, counted
from market_data_pipeline.api.pages.calendar import coverage as days_covered
from market_data_pipeline.api.pages.choice import Choice, Searched, Sort, SortGiven, StateGiven
from market_data_pipeline.api.pages.overview import coverage_map, overview
from market_data_pipeline.api.pages.stored_files import MOST_CHARACTERS, StoredFile, stored_file
from market_data_pipeline.api.problems import MEDIA_TYPE, FieldProblem, Problem
from market_data_pipeline.core.errors import StoreError, StoreUnavailable
from market_data_pipeline.core.klines.coverage import minutes_by_kind
from market_data_pipeline.core.klines.dataset import Market, parse_market
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.live.freshness import ALLOWED_MINUTES
from market_data_pipeline.core.proof.combined import Agreement
from market_data_pipeline.core.store import combined as combine
from market_data_pipeline.core.store import layout, revisions
from market_data_pipeline.core.store.combined import Selection
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import count_text, refusal_of_disk
from market_data_pipeline.instance.names import sensor_name
from market_data_pipeline.validators import of_form

FILES_A_PAGE = 200
_REVISIONS_SHOWN = 20
_FLAWS_SHOWN = 100
_MOST_ROWS_OF_A_FILE = 1 << 40

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}, "text/html": {}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The host is unknown", "content": _CONTENT},
    404: {"description": "There is no such dataset or file", "content": _CONTENT},
    422: {"description": "The request is not valid, or the file cannot be shown", "content": _CONTENT},
    500: {"description": "The store is not as it should be", "content": _CONTENT},
    503: {"description": "The disk is not available", "content": _CONTENT},
}
MarketGiven = Annotated[MarketName | None, Query(description="spot or futures; both if not given")]
PairGiven = Annotated[
    PairName | None, Query(description="BASE/QUOTE or the symbol, together with market; all pairs if not given")
]
_MONTH = r"^(19|20|21)\d\d-(0[1-9]|1[0-2])$"
MonthGiven = Annotated[
    str | None,
    of_form(_MONTH, "not a month; write 2024-03"),
    Query(json_schema_extra={"pattern": _MONTH}, description="the last month, such as 2024-03"),
]

router = APIRouter(
    route_class=pages.PageRoute, default_response_class=HTMLResponse, responses=_PROBLEMS, tags=["pages"]
)


@router.get("/browse")
def browse(
    context: InjectedContext,
    market: MarketGiven = None,
    pair: PairGiven = None,
    q: Searched = "",
    state: StateGiven = None,
    sort: SortGiven = Sort.NAME.value,
    page: Annotated[
        int, Query(ge=1, le=100_000, description="page of datasets, or of a dataset's chunks, newest first, from 1")
    ] = 1,
) -> HTMLResponse:
    """The page of all datasets, or of a dataset with its days and files."""
    if pair is None:
        return overview(context, Choice(q=q, market=market, state=state, sort=sort), page)
    if market is None:
        problem = "give a market with the pair, spot or futures"
        raise Problem(422, "The request is not valid", problem, [FieldProblem(field="market", problem=problem)])
    return _dataset(context, _inventory(context, parse_market(market), pair), page)


@router.get("/browse/coverage")
def coverage(
    context: InjectedContext,
    market: MarketGiven = None,
    q: Searched = "",
    state: StateGiven = None,
    sort: SortGiven = Sort.NAME.value,
    page: Annotated[int, Query(ge=1, le=100_000, description="page of datasets, from 1")] = 1,
    until: MonthGiven = None,
) -> HTMLResponse:
    """The heat map of coverage: a row for each dataset, a cell for each month."""
    return coverage_map(context, Choice(q=q, market=market, state=state, sort=sort), page, until)


@router.get("/browse/runs")
def runs(context: InjectedContext, market: MarketName, pair: PairName) -> HTMLResponse:
    """The last Dagster runs of a dataset. It is a page of its own because Dagster may be slow or not available."""
    dataset = _inventory(context, parse_market(market), pair).view.dataset
    try:
        last_runs, sensor_is_on, problem = context.dagster.last_runs(dataset), None, ""
        if dataset.live:
            sensor_is_on = context.dagster.sensor_is_on(dataset.market)
    except DagsterUnavailable as error:
        last_runs, sensor_is_on, problem = [], None, str(error)
    return pages.render(
        "runs.html",
        dataset=dataset,
        runs=last_runs,
        sensor=sensor_name(dataset.market),
        sensor_is_on=sensor_is_on,
        problem=problem,
        dagster_url=context.dagster.public_url,
    )


@router.get("/browse/file")
def file(
    context: InjectedContext,
    file: Annotated[
        str,
        Query(
            max_length=MOST_CHARACTERS,
            description="the path of the file, relative to the data root, with /",
            examples=[layout.CHUNK_EXAMPLE],
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=preview.MOST_ROWS, description="rows on the page")] = 100,
    offset: Annotated[int, Query(ge=0, le=_MOST_ROWS_OF_A_FILE, description="rows of the file before the page")] = 0,
) -> HTMLResponse:
    """A page of rows of a chunk or combined file, and their chart."""
    stored = stored_file(context.settings.root, file)
    read = preview.of_combined if stored.is_combined else preview.of_chunk
    try:
        content = read(stored.path, offset=offset, limit=limit)
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise Problem(422, "The file cannot be shown", str(error)) from error
    if offset >= max(1, content.total_rows):
        problem = f"the file has {count_text(content.total_rows, 'row')}; give a smaller offset"
        raise Problem(422, "No such rows", problem, [FieldProblem(field="offset", problem=problem)])
    return pages.render(
        "file.html",
        stored=stored,
        read=content,
        minutes_by_kind=minutes_by_kind,
        most_flaws=_FLAWS_SHOWN,
        around=_neighbours(stored),
        columns=chart.VALUES,
        rows=chart.rows(content.page, content.zone),
        drawn=chart.drawn(content.charted, content.zone),
        last_offset=max(0, (content.total_rows - 1) // limit * limit),
    )


def _inventory(context: InjectedContext, market: Market, pair: str) -> Inventory:
    inventory = context.catalog.inventory(market, parse_pair(pair, has_contracts=market.has_contracts))
    if inventory is None:
        raise Problem(404, "There is no such dataset", f"{market} {pair} is not in the store; see /browse")
    return inventory


def _summary(view: DatasetView, now_ms: int) -> Mapping[str, Any]:
    lag = lag_minutes(view.since_ms, now_ms)
    return {"status": view.status, "lag": lag, "late": view.dataset.live and (lag is None or lag > ALLOWED_MINUTES)}


def _dataset(context: InjectedContext, inventory: Inventory, page: int) -> HTMLResponse:
    view, now_ms = inventory.view, _now_ms()
    years = days_covered(view.dataset, view.entries, inventory.damaged, now_ms)
    chunks = f"/browse/file?{pages.query(file=layout.relative_folder(view.dataset, layout.CHUNKS))}"
    ledger = revisions.read(view.status.folder, view.entries)
    entries = view.entries[::-1][(page - 1) * FILES_A_PAGE : page * FILES_A_PAGE]
    return pages.render(
        "dataset.html",
        **_summary(view, now_ms),
        combined_folder=layout.relative_folder(view.dataset, layout.COMBINED),
        links={day: f"{chunks}{file.name}" for day, file in inventory.files.items()},
        damaged=inventory.damaged,
        years=years,
        counts=counted(years),
        states_of_days=list(DayState),
        minutes_by_kind=minutes_by_kind,
        revisions=ledger[: -_REVISIONS_SHOWN - 1 : -1],
        revisions_count=len(ledger),
        combined=list(_combined(view)),
        entries=entries,
        page=page,
        pages=max(1, -(-len(view.entries) // FILES_A_PAGE)),
        settings=context.settings,
    )


@dataclass(frozen=True, slots=True)
class _CombinedFile:
    name: str
    rows: int
    chunks: int
    size_bytes: int
    state: str


def _combined(view: DatasetView) -> Iterator[_CombinedFile]:
    """The combined files; for that of all chunks, whether it was made of the chunks that are stored now."""
    for path in layout.combined_files(view.status.folder):
        try:
            file = combine.read_combined(path)
        except OSError as error:
            yield _CombinedFile(path.name, 0, 0, 0, refusal_of_disk(error))
            continue
        if file is None:
            yield _CombinedFile(path.name, 0, 0, 0, "cannot be read; combine again")
            continue
        state = ""
        if path == layout.combined_path(view.status.folder, view.dataset.token) and view.entries:
            selection = Selection.of_all(view.dataset, view.entries)
            state = "up to date" if file.fingerprint == selection.fingerprint() else Agreement.OLDER
        yield _CombinedFile(path.name, file.rows, file.chunks, file.size_bytes, state)


def _neighbours(stored: StoredFile) -> Mapping[str, str]:
    """The names of the chunks of the day before (`previous`) and after (`next`), if they exist."""
    name = layout.parse_chunk_name(stored.path.name)
    if name is None:
        return {}
    try:
        names = {"previous": str(name.neighbour(-1)), "next": str(name.neighbour(1))}
    except OverflowError:
        return {}
    folder = stored.name.rpartition("/")[0]
    files, path = storage_of(stored.path), stored.path
    return {side: f"{folder}/{name}" for side, name in names.items() if files.exists(path.with_name(name))}


def _now_ms() -> int:
    return round(time.time() * 1000)
