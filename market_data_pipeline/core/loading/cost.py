"""What a load will take, told before it: days, requests, request weight, bytes to download and to store.

Belongs here: the cost of one window of one pair. Does not belong here: what each day needs (`plan`), how many requests
a piece has (`sources.planning`), sums of many pairs (`app.market`).

The first requests of a load are sent as the load sends them, and counted. The requests for klines follow from the plan
of the days. The listing of the archive has the size of each file; what it does not say, and how large chunks become, is
measured on a day or two, which are downloaded and not kept.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Kind, Span, intersect, total_minutes
from market_data_pipeline.core.klines.table import EMPTY
from market_data_pipeline.core.loading.plan import Load, Task, decide_load
from market_data_pipeline.core.loading.request import WindowRequest, found
from market_data_pipeline.core.loading.resolve import OpenSource, new_dataset
from market_data_pipeline.core.sources.planning.forecast import Expected
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.chunks.encoding import Footer, encode
from market_data_pipeline.core.store.root import Store

_MINUTES_OF_FILE = 1440
# Days that are downloaded to learn sizes, where the files and chunks that are there do not tell them.
_MOST_SAMPLES = 2
# Where nothing could be measured: about what files of the archive, rows of REST and rows of chunks have.
_USUAL_FILE_BYTES, _USUAL_ROW_BYTES, _USUAL_STORED_BYTES = 70_000, 175, 46


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load of one pair will take.

    Attributes:
        name: market and pair.
        days: how many days of the window have each outcome; `to load` is that of those that are requested.
        sources: how many of the days to load come from each source, or from several: `archive+rest`.
        requests: all that are sent.
        weight: the request weight of those that have one.
        weight_per_minute: how much of it all processes together spend in a minute at most.
        download_bytes: the bodies of all responses, as they are sent.
        stored_bytes: the chunks that are written.
        klines: how many are loaded.
        warnings: what a user should know, one line each.
        error: why the pair cannot be loaded, None if it can.
        may_pass: True if the same may succeed later: the error is one of the exchange, the network or the disk.
    """

    name: str
    days: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    weight: int = 0
    weight_per_minute: int = 0
    download_bytes: int = 0
    stored_bytes: int = 0
    klines: int = 0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    may_pass: bool = False

    @property
    def seconds_at_limit(self) -> float:
        """How long the weight takes at the limit of the exchange; what has no weight comes on top."""
        return 60 * self.weight / self.weight_per_minute if self.weight_per_minute else 0.0


@dataclass(frozen=True, slots=True)
class How:
    """How a window will be loaded: `refetch` requests also what is stored; `row_group_rows` as in `encode`."""

    refetch: bool = False
    row_group_rows: int | None = None


TO_LOAD = "to load"
_USUAL = How()


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Bytes of a file of the archive, of a kline by REST, of a chunk without klines, and of a kline in a chunk.

    `stored_of_file` is the bytes of a day's klines in a chunk for each byte of the day's file, None if not measured.
    """

    file: float
    rest_row: float
    empty_chunk: int
    stored: float
    stored_of_file: float | None


def cost_of(store: Store, open_source: OpenSource, request: WindowRequest, how: How = _USUAL) -> Cost:
    """What a load of the window will take. Nothing is written.

    Args:
        store: the data root.
        open_source: opens the source of a pair.
        request: the window.
        how: how it will be loaded.

    Raises:
        UsageError, StoreError, SourceError: the load would be refused.
    """
    sources: list[KlineSource] = []

    def opened_source(*named: object) -> KlineSource:
        sources.append(open_source(*named))  # type: ignore[arg-type]
        return sources[-1]

    with found(store, opened_source, request) as asked:
        source = asked.resolved.source
        files = store.open(asked.known or new_dataset(asked.resolved, zone=request.zone, window=asked.window))
        load = decide_load(files, source, asked.within_life, refetch=how.refetch)
        # What was sent until here, the load will send, too: also to a pair that it then does not work on.
        first = sum((each.traffic() for each in sources), Traffic())
        weight = sum(each.usage().spent for each in sources)
        tasks = [task for task in load.tasks if task.spans]
        expected = source.expect([task.spans for task in tasks], list(_known_absent(load, tasks)))
        pieces = [one for one in expected if one.klines]
        sizes = _measured(load, pieces, how.row_group_rows)
        return Cost(
            name=files.dataset.name,
            days=Counter(task.outcome.value if task.outcome else TO_LOAD for task in load.tasks),
            sources=Counter(_source_of(task, pieces) for task in tasks),
            requests=first.requests + sum(one.requests for one in expected),
            weight=weight + sum(one.weight for one in expected),
            weight_per_minute=source.usage().limit,
            download_bytes=first.received_bytes + round(sum(_downloaded(one, sizes) for one in expected)),
            stored_bytes=round(sum(_stored(load, task, pieces, sizes) for task in tasks)),
            klines=sum(one.klines for one in pieces),
            warnings=(*files.warnings, *asked.warnings, *source.warnings),
        )


def _known_absent(load: Load, tasks: Sequence[Task]) -> Iterator[Span]:
    """The minutes of which an earlier load has proven that the exchange has no klines."""
    for task in tasks:
        if entry := load.store.entries.get(task.day.key):
            absent = [each.span for each in entry.absences if each.kind in {Kind.OUTAGE, Kind.SUSPENDED}]
            yield from intersect(task.spans, absent)


def _source_of(task: Task, pieces: Sequence[Expected]) -> str:
    serving = {one.source for one in pieces if intersect([one.span], task.spans)}
    return "+".join(sorted(serving)) or "none"


def _downloaded(one: Expected, sizes: _Sizes) -> float:
    file = sizes.file if one.file_bytes is None else one.file_bytes
    return one.files * file + one.rest_rows * sizes.rest_row


def _stored(load: Load, task: Task, pieces: Sequence[Expected], sizes: _Sizes) -> float:
    """The bytes of the day's chunk: of its new klines, and of those that are stored and not requested again."""
    size = float(sizes.empty_chunk)
    for one in pieces:
        minutes = total_minutes(intersect([one.span], task.spans))
        share = minutes / one.span.minutes
        if one.file_bytes is not None and sizes.stored_of_file is not None and _is_whole(one):
            size += share * one.file_bytes * sizes.stored_of_file
        else:
            size += share * one.klines * sizes.stored
    if (entry := load.store.entries.get(task.day.key)) and entry.rows:
        kept = max(0, min(entry.rows, task.day.minutes - total_minutes(task.spans)))
        size += kept / entry.rows * (entry.size_bytes - sizes.empty_chunk)
    return size


def _measured(load: Load, pieces: Sequence[Expected], row_group_rows: int | None) -> _Sizes:
    """Sizes of what some of the pieces bring; they are downloaded, and not kept."""
    dataset = load.store.dataset
    footer = Footer(dataset.market, dataset.pair, dataset.zone.name, dataset.first_day.key, "archive", ())

    def encoded(klines: pa.Table) -> int:
        return len(encode(klines, footer, row_group_rows=row_group_rows))

    of_files = [one for one in pieces if one.files and not one.rest_rows]
    of_archive = [one for one in of_files if _is_whole(one)] or of_files
    of_rest = [one for one in pieces if one.rest_rows and not one.files]
    largest = max((one.klines for one in of_rest), default=0)
    files = [_downloads(load.source, one) for one in _spread(of_archive)]
    pages = [_downloads(load.source, one) for one in _spread([one for one in of_rest if one.klines == largest])]
    files, pages = ([one for one in some if one[1].num_rows] for some in (files, pages))
    # Each column costs something beside its values, which a chunk without rows does not show.
    of_all = [klines for _, klines in (*files, *pages)]
    halves = sum(encoded(klines.slice(0, klines.num_rows // 2)) for klines in of_all)
    wholes = sum(map(encoded, of_all))
    empty = max(encoded(EMPTY), round((2 * halves - wholes) / len(of_all))) if of_all else encoded(EMPTY)
    rows = sum(klines.num_rows for klines in of_all)
    file_bytes = sum(received for received, _ in files)
    page_rows = sum(klines.num_rows for _, klines in pages)
    stored_of_files = sum(encoded(klines) - empty for _, klines in files)
    stored = wholes - len(of_all) * empty
    return _Sizes(
        file=file_bytes / len(files) if files else _USUAL_FILE_BYTES,
        rest_row=sum(received for received, _ in pages) / page_rows if page_rows else _USUAL_ROW_BYTES,
        empty_chunk=empty,
        stored=stored / rows if rows else _USUAL_STORED_BYTES,
        stored_of_file=stored_of_files / file_bytes if file_bytes and _is_whole(of_archive[0]) else None,
    )


def _spread(pieces: Sequence[Expected]) -> list[Expected]:
    """Some of the pieces, from all of their time."""
    at = {len(pieces) * (2 * number + 1) // (2 * _MOST_SAMPLES) for number in range(_MOST_SAMPLES)}
    return [pieces[number] for number in sorted(at)] if pieces else []


def _is_whole(one: Expected) -> bool:
    return one.span.minutes == _MINUTES_OF_FILE


def _downloads(source: KlineSource, one: Expected) -> tuple[int, pa.Table]:
    """The bytes of a piece, and its klines: none if it cannot be had."""
    before = source.traffic()
    page = next(iter(source.pages([one.span])))
    return source.traffic().received_bytes - before.received_bytes, page.klines
