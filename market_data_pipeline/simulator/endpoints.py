"""What the endpoints answer to a request that nothing hinders.

Belongs here: exchangeInfo, klines, files of the archive, the listing of its bucket, and the faults of pages and files.
Does not belong here: hooks, weights, refusals, faults of connections and statuses (`exchange`), bodies as text
(`responses`, `exchange_info`).
"""

import asyncio

from starlette.responses import Response

from market_data_pipeline.simulator import responses
from market_data_pipeline.simulator.data.archive import ArchiveName, parse_path, renamed
from market_data_pipeline.simulator.data.bucket import bucket_page
from market_data_pipeline.simulator.data.clock import MINUTE_MS, SimulatedClock
from market_data_pipeline.simulator.data.history import History
from market_data_pipeline.simulator.data.pairs import Market
from market_data_pipeline.simulator.exchange_info import exchange_info
from market_data_pipeline.simulator.faults import FILE_FAULTS, Faults
from market_data_pipeline.simulator.file_faults import spoil_file
from market_data_pipeline.simulator.hostile.committing import HOSTILE_FILES, OTHER_PAIR, spoil_hostile
from market_data_pipeline.simulator.page_faults import spoil_page
from market_data_pipeline.simulator.queries import ApiError, RequestInfo, read_bucket, read_klines, read_symbol
from market_data_pipeline.simulator.scenario.lives import Life

_ENDPOINTS = ("ping", "time", "exchangeInfo", "klines")


class Endpoints:
    """The endpoints of one exchange; `history` may be replaced while it runs."""

    def __init__(self, clock: SimulatedClock, history: History, faults: Faults) -> None:
        """Serve the klines of a history by a clock."""
        self.history = history
        self._clock = clock
        self._faults = faults

    def rest(self, market: Market, request: RequestInfo, faults: set[str]) -> tuple[Response, int]:
        """Return the response of a REST endpoint, and its number of klines."""
        if request.endpoint not in _ENDPOINTS:
            return responses.no_such_path(request.path), 0
        now_ms = self._clock.now_ms()
        try:
            match request.endpoint:
                case "ping":
                    return responses.json_response(market, {}), 0
                case "time":
                    return responses.json_response(market, {"serverTime": now_ms}), 0
                case "exchangeInfo":
                    info = exchange_info(market, self.history.pairs.values(), request.params, now_ms)
                    return responses.json_response(market, info), 0
                case _:
                    return self._klines(market, request, faults, now_ms)
        except ApiError as error:
            return responses.api_error(market, error), 0

    async def archive(self, request: RequestInfo, faults: set[str]) -> Response:
        """Return a file of the archive, or the 404 of its absence."""
        name = parse_path(request.path.removeprefix("/"))
        if name is None or self._clock.now_ms() < name.published_ms or "late_archive" in faults:
            return responses.archive_missing(request.path.removeprefix("/"))
        content = await asyncio.to_thread(
            self._archive_file, name, faults & (FILE_FAULTS.keys() | HOSTILE_FILES.keys())
        )
        return responses.archive_missing(name.path) if content is None else responses.archive_file(name, content)

    async def listing(self, request: RequestInfo) -> Response:
        """Return a page of the listing of the archive's bucket."""
        try:
            query = read_bucket(request.params)
        except ApiError as error:
            return responses.bucket_error(error)
        page = await asyncio.to_thread(bucket_page, self.history, query, self._clock.now_ms())
        return responses.bucket_listing(query, page)

    def _klines(self, market: Market, request: RequestInfo, faults: set[str], now_ms: int) -> tuple[Response, int]:
        symbol = read_symbol(market, request.params)
        query = read_klines(market, request.params)
        pair = self.history.pairs.get((market, symbol))
        if pair is None or not pair.known(now_ms):
            raise ApiError(-1121, "Invalid symbol.")
        if isinstance(pair, Life) and pair.refusal is not None:
            refusal = pair.refusal
            return responses.json_response(market, refusal.body, refusal.status, refusal.headers), 0
        end_ms = query.end_ms
        minute_ms = now_ms - now_ms % MINUTE_MS
        if "late" in faults and now_ms - minute_ms < self._faults.late_seconds * 1000:
            end_ms = min(now_ms if end_ms is None else end_ms, minute_ms - MINUTE_MS - 1)
        page = self.history.page(pair, query.start_ms, end_ms, query.limit, now_ms)
        if "html" in faults:
            return responses.error_page(), page.rows
        if not faults:
            return responses.json_response(market, page.body), page.rows
        provisional_ms = self._faults.provisional_seconds * 1000
        return responses.json_response(market, spoil_page(page.body, faults, pair, now_ms, provisional_ms)), page.rows

    def _archive_file(self, name: ArchiveName, faults: set[str]) -> bytes | None:
        if not faults:
            return self.history.archive_file(name)
        if faults & OTHER_PAIR.keys():
            name = self._of_other_pair(name)
        packed = self.history.archive_file(name.zip)
        if packed is None or not faults & FILE_FAULTS.keys():
            return None if packed is None else spoil_hostile(name, packed, faults)
        return spoil_file(name, packed, faults, self._faults.seed)

    def _of_other_pair(self, name: ArchiveName) -> ArchiveName:
        """Return the same file of another pair that has one, else the name itself."""
        symbols = (symbol for market, symbol in self.history.pairs if (market, symbol) != (name.market, name.symbol))
        others = (renamed(name, symbol) for symbol in symbols)
        return next((other for other in others if self.history.archive_file(other.zip)), name)
