"""The simulated exchange: its configuration and its behaviour as an ASGI application.

Belongs here: the order in which hooks, faults, weights and endpoints handle a request.
Does not belong here: klines (`data.history`), bodies of responses (`responses`, `exchange_info`), sockets and threads
(`server`).
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from market_data_pipeline.simulator import responses
from market_data_pipeline.simulator.counters import Counters
from market_data_pipeline.simulator.data.archive import ArchiveName, parse_path
from market_data_pipeline.simulator.data.clock import MINUTE_MS, SimulatedClock
from market_data_pipeline.simulator.data.history import History
from market_data_pipeline.simulator.data.pairs import MARKETS, Market, Pair
from market_data_pipeline.simulator.delivery import Connections, deliver_half
from market_data_pipeline.simulator.exchange_info import exchange_info
from market_data_pipeline.simulator.faults import FAULTS, FILE_FAULTS, STATUS_FAULTS, Faults
from market_data_pipeline.simulator.file_faults import spoil_file
from market_data_pipeline.simulator.page_faults import spoil_page
from market_data_pipeline.simulator.queries import ApiError, Area, RequestInfo, read_klines, read_symbol, requested_rows
from market_data_pipeline.simulator.weights import Charge, WeightMeter, request_weight

Hook = Callable[[RequestInfo], Response | str | None]

_PREFIXES: dict[str, Area] = {"/api/v3/": "spot", "/fapi/v1/": "futures", "/data/": "archive"}
_ENDPOINTS = ("ping", "time", "exchangeInfo", "klines")


class SimulatedExchange:
    """Spot REST, USD-M futures REST and the archive at one address.

    `hooks` are called first for each request, in order. A hook returns the response to send, the name of the fault to
    commit, or None to leave the request to the next one.
    """

    def __init__(
        self,
        archive_dir: str | Path | None = None,
        *,
        rtt_ms: float = 0,
        weights: bool = True,
        faults: Mapping[str, float] | None = None,
        fault_seed: int = 0,
        now: datetime | None = None,
        speed: float = 1.0,
    ) -> None:
        """Configure the exchange.

        Args:
            archive_dir: a folder that contains `data/`, with real klines; other days are synthetic.
            rtt_ms: round-trip time of each request, ms.
            weights: refuse requests over the weight limit; False only counts the weight.
            faults: the rate of each fault, by name.
            fault_seed: the seed of the draws of faults.
            now: where the simulated clock starts; None for the real time.
            speed: simulated seconds per real second.
        """
        self.rtt_ms = rtt_ms
        self.clock = SimulatedClock(now, speed)
        self.hooks: list[Hook] = []
        self.connections = Connections()
        self.closing = False
        self._faults = Faults(faults, fault_seed)
        self._history = History(None if archive_dir is None else Path(archive_dir))
        self._meters = {market: WeightMeter(market, self.clock, enforced=weights) for market in MARKETS}
        self._counters: dict[Area, Counters] = {"spot": Counters(), "futures": Counters(), "archive": Counters()}

    @property
    def faults(self) -> Faults:
        """The rates of the faults; assign a mapping to replace them all."""
        return self._faults

    @faults.setter
    def faults(self, rates: Mapping[str, float]) -> None:
        Faults(rates)
        self._faults.clear()
        self._faults.update(rates)

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of both markets, including those that are not listed yet at the simulated time."""
        return list(self._history.pairs.values())

    def stats(self) -> dict[str, Any]:
        """Return the totals of what was served, and the simulated time."""
        counted: dict[str, dict[str, Any]] = {area: counters.as_dict() for area, counters in self._counters.items()}
        for market, meter in self._meters.items():
            counted[market] |= {"used_weight_1m": meter.used, "peak_weight_1m": meter.peak, "weight_limit": meter.limit}
        now_ms = self.clock.now_ms()
        return {"now": self.clock.now().isoformat(), "now_ms": now_ms, "speed": self.clock.speed, **counted}

    def use_weight(self, market: Market, weight: int) -> None:
        """Use up weight, as a request of another client with the same IP address would."""
        self._meters[market].charge(weight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the simulated exchange serves HTTP only, not {scope['type']}")
        path = scope["path"]
        prefix = next((prefix for prefix in _PREFIXES if path.startswith(prefix)), None)
        if prefix is None:
            await self._own_path(path)(scope, receive, send)
            return
        area = _PREFIXES[prefix]
        counters = self._counters[area]
        counters.requests += 1
        number = sum(each.requests for each in self._counters.values())
        params = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        endpoint = path.removeprefix(prefix) if area != "archive" else "zip"
        counters.endpoints[endpoint] += 1
        await self._respond(RequestInfo(area, endpoint, path, params, number), counters, scope, receive, send)

    def _own_path(self, path: str) -> Response:
        if path == "/simulator/stats":
            return Response(orjson.dumps(self.stats()), media_type="application/json")
        return responses.no_such_path(path)

    async def _respond(
        self, request: RequestInfo, counters: Counters, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await self._travel()
        response, faults = self._run_hooks(request)
        counters.faults.update(faults)
        if "reset" in faults:
            await self.connections.drop(scope, receive)
            return
        if "stall" in faults:
            await self._stall()
        if response is None:
            response = await self._response(request, faults)
        await self._travel()
        counters.statuses[response.status_code] += 1
        if "truncate" in faults:
            counters.bytes += await deliver_half(response, send)
            await self.connections.drop(scope, receive)
            return
        counters.bytes += len(response.body)
        await response(scope, receive, send)

    async def _travel(self) -> None:
        if self.rtt_ms:
            await asyncio.sleep(self.rtt_ms / 2000)

    def _run_hooks(self, request: RequestInfo) -> tuple[Response | None, set[str]]:
        for hook in self.hooks:
            outcome = hook(request)
            if isinstance(outcome, str):
                if outcome not in FAULTS:
                    raise ValueError(f"a hook returned the unknown fault {outcome!r}")
                return None, {outcome}
            if outcome is not None:
                return outcome, set()
        return None, self._faults.draw(request)

    async def _stall(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._faults.stall_seconds
        while loop.time() < until and not self.closing:
            await asyncio.sleep(0.02)

    async def _response(self, request: RequestInfo, faults: set[str]) -> Response:
        status = next((name for name in STATUS_FAULTS if name in faults), None)
        if request.area == "archive":
            return self._status_fault("spot", status) if status else await self._archive(request, faults)
        market = request.area
        weight = request_weight(market, request.endpoint, requested_rows(market, request.params))
        charge = self._meters[market].charge(weight)
        self._counters[market].weight += weight
        response = self._refusal(market, charge) or (
            self._status_fault(market, status) if status else self._endpoint(market, request, faults)
        )
        if response.status_code not in (403, 451):
            response.headers["x-mbx-used-weight-1m"] = str(charge.used)
            if market == "spot":
                response.headers["x-mbx-used-weight"] = str(charge.used)
        return response

    def _refusal(self, market: Market, charge: Charge) -> Response | None:
        if charge.refusal == 429:
            return responses.too_much_weight(market, self._meters[market].limit, charge.retry_after_s)
        if charge.refusal == 418:
            return responses.banned(market, charge.banned_until_ms, charge.retry_after_s)
        return None

    def _status_fault(self, market: Market, status: str) -> Response:
        ban_s = self._faults.ban_seconds
        match status:
            case "500":
                return responses.internal_error(market)
            case "503":
                return responses.unavailable()
            case "429":
                return responses.too_much_weight(market, self._meters[market].limit, 1)
            case "418":
                return responses.banned(market, self.clock.window_ms() + ban_s * 1000, ban_s)
            case "403":
                return responses.firewall()
            case _:
                return responses.restricted_location(market)

    def _endpoint(self, market: Market, request: RequestInfo, faults: set[str]) -> Response:
        if request.endpoint not in _ENDPOINTS:
            return responses.no_such_path(request.path)
        now_ms = self.clock.now_ms()
        try:
            match request.endpoint:
                case "ping":
                    return responses.json_response(market, {})
                case "time":
                    return responses.json_response(market, {"serverTime": now_ms})
                case "exchangeInfo":
                    info = exchange_info(market, self._history.pairs.values(), request.params, now_ms)
                    return responses.json_response(market, info)
                case _:
                    return self._klines(market, request, faults, now_ms)
        except ApiError as error:
            return responses.api_error(market, error)

    def _klines(self, market: Market, request: RequestInfo, faults: set[str], now_ms: int) -> Response:
        symbol = read_symbol(market, request.params)
        query = read_klines(market, request.params)
        pair = self._history.pairs.get((market, symbol))
        if pair is None or pair.first_open_ms > now_ms:
            raise ApiError(-1121, "Invalid symbol.")
        end_ms = query.end_ms
        minute_ms = now_ms - now_ms % MINUTE_MS
        if "late" in faults and now_ms - minute_ms < self._faults.late_seconds * 1000:
            end_ms = min(now_ms if end_ms is None else end_ms, minute_ms - MINUTE_MS - 1)
        page = self._history.page(pair, query.start_ms, end_ms, query.limit, now_ms)
        self._counters[market].rows += page.rows
        if "html" in faults:
            return responses.error_page()
        if not faults:
            return responses.json_response(market, page.body)
        provisional_ms = self._faults.provisional_seconds * 1000
        return responses.json_response(market, spoil_page(page.body, faults, pair, now_ms, provisional_ms))

    async def _archive(self, request: RequestInfo, faults: set[str]) -> Response:
        name = parse_path(request.path.removeprefix("/"))
        if name is None or self.clock.now_ms() < name.published_ms or "late_archive" in faults:
            return responses.archive_missing(request.path.removeprefix("/"))
        content = await asyncio.to_thread(self._archive_file, name, faults & FILE_FAULTS.keys())
        return responses.archive_missing(name.path) if content is None else responses.archive_file(name, content)

    def _archive_file(self, name: ArchiveName, faults: set[str]) -> bytes | None:
        if not faults:
            return self._history.archive_file(name)
        packed = self._history.archive_file(name.zip)
        return None if packed is None else spoil_file(name, packed, faults, self._faults.seed)
