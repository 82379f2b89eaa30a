"""The simulated exchange: its configuration and its behaviour as an ASGI application.

Belongs here: the order in which hooks, faults, weights and endpoints handle a request.
Does not belong here: what an endpoint answers (`endpoints`), sockets and threads (`server`).
"""

import asyncio
import math
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
from market_data_pipeline.simulator.data.clock import SimulatedClock
from market_data_pipeline.simulator.data.history import History
from market_data_pipeline.simulator.data.lives import UsualLives
from market_data_pipeline.simulator.data.pairs import MARKETS, Market, Pair
from market_data_pipeline.simulator.delivery import Connections, deliver_half
from market_data_pipeline.simulator.endpoints import Endpoints
from market_data_pipeline.simulator.faults import FAULTS, STATUS_FAULTS, Faults
from market_data_pipeline.simulator.hostile.answer import Answer, Pieces
from market_data_pipeline.simulator.hostile.committing import HOSTILE_ANSWERS, pieces_of, spoil_answer
from market_data_pipeline.simulator.queries import Area, RequestInfo, requested_rows
from market_data_pipeline.simulator.scenario.format import ScenarioError
from market_data_pipeline.simulator.scenario.playing import Scenario, ScenarioFile, scenario_of
from market_data_pipeline.simulator.weights import Charge, Weights, request_weight

Hook = Callable[[RequestInfo], Response | str | None]

_PREFIXES: dict[str, Area] = {"/api/v3/": "spot", "/fapi/v1/": "futures", "/data/": "archive"}
_BUCKET = "/data.binance.vision"


class SimulatedExchange:
    """Spot REST, USD-M futures REST, the archive and the listing of its bucket at one address.

    `hooks` are called first for each request, in order. A hook returns the response to send, the name of the fault to
    commit, or None to leave the request to the next one.
    """

    def __init__(
        self,
        archive_dir: str | Path | None = None,
        *,
        scenario: str | Path | Mapping[str, Any] | None = None,
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
            scenario: the file of a scenario, read again when it changes, or the scenario itself; with it only its pairs
                exist, and its clock starts at its `now`.
            rtt_ms: round-trip time of each request, ms.
            weights: refuse requests over the weight limit; False only counts the weight.
            faults: the rate of each fault, by name.
            fault_seed: the seed of the draws of faults.
            now: where the simulated clock starts; None for the real time.
            speed: simulated seconds per real second.

        Raises:
            ScenarioError: the scenario cannot be played.
            ValueError: a fault, a time or a speed is not one, or klines of a folder and a scenario are asked for.
        """
        if scenario is not None and archive_dir is not None:
            raise ValueError("an exchange plays a scenario or serves a folder of real klines, not both")
        if not 0 <= rtt_ms < math.inf:
            raise ValueError(f"the round-trip time must be 0 ms or more, not {rtt_ms:g}")
        self.rtt_ms = rtt_ms
        self.clock = SimulatedClock(now, speed)
        self.hooks: list[Hook] = []
        self.on_problem: Callable[[str], object] = lambda _: None
        self.connections = Connections()
        self.closing = False
        self._faults = Faults(faults, fault_seed)
        usual = UsualLives(None if archive_dir is None else Path(archive_dir))
        self._endpoints = Endpoints(self.clock, History(usual), self._faults)
        self._weights = {market: Weights(market, self.clock, enforced=weights) for market in MARKETS}
        self._counters: dict[Area, Counters] = {area: Counters() for area in ("spot", "futures", "archive", "listing")}
        self.scenario_problem = ""
        self._failures: Hook | None = None
        self._scenario_file = ScenarioFile(Path(scenario)) if isinstance(scenario, str | Path) else None
        if self._scenario_file is not None:
            self._play(self._scenario_file.read_if_changed())
        elif isinstance(scenario, Mapping):
            self.play(scenario)

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
        return list(self._endpoints.history.pairs.values())

    def play(self, scenario: Mapping[str, Any]) -> None:
        """Go on with another scenario; its clock starts now.

        Raises:
            ScenarioError: the scenario cannot be played. The exchange goes on as it was.
        """
        self._scenario_file = None
        self._play(scenario_of(scenario))

    def _play(self, scenario: Scenario | None) -> None:
        if scenario is None:
            return
        self._endpoints.history = History(scenario.lives)
        self._failures = scenario.failures
        self.scenario_problem = ""
        speed = self.clock.speed if scenario.speed is None else scenario.speed
        if scenario.now is not None:
            self.clock.start(scenario.now, speed)
        elif speed != self.clock.speed:
            self.clock.run_at(speed)

    def _read_scenario_again(self) -> None:
        """Play what the file says now; go on as before if it cannot be played, as while it is being written."""
        if self._scenario_file is None:
            return
        try:
            self._play(self._scenario_file.read_if_changed())
        except ScenarioError as error:
            problem = str(error)
            if problem != self.scenario_problem:
                self.scenario_problem = problem
                self.on_problem(problem)

    def stats(self) -> dict[str, Any]:
        """Return the totals of what was served, and the simulated time."""
        counted: dict[str, dict[str, Any]] = {area: counters.as_dict() for area, counters in self._counters.items()}
        for market, weights in self._weights.items():
            counted[market] |= weights.as_dict()
        now_ms = self.clock.now_ms()
        told = {"now": self.clock.now().isoformat(), "now_ms": now_ms, "speed": self.clock.speed}
        return told | counted | ({"scenario_problem": self.scenario_problem} if self.scenario_problem else {})

    def use_weight(self, market: Market, weight: int, address: str = "127.0.0.1") -> None:
        """Use up weight, as a request of another client with this IP address would."""
        self._weights[market].charge(address, weight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the simulated exchange serves HTTP only, not {scope['type']}")
        self._read_scenario_again()
        path = scope["path"]
        found = _area_and_endpoint(path)
        if found is None:
            await self._own_path(path)(scope, receive, send)
            return
        area, endpoint = found
        counters = self._counters[area]
        counters.requests += 1
        counters.endpoints[endpoint] += 1
        number = sum(each.requests for each in self._counters.values())
        params = dict(parse_qsl(scope["query_string"].decode(errors="replace"), keep_blank_values=True))
        address = scope["client"][0] if scope.get("client") else ""
        await self._respond(RequestInfo(area, endpoint, path, params, number, address), counters, scope, receive, send)

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
        if spoils := faults & HOSTILE_ANSWERS.keys():
            response, pieces = self._spoiled(response, spoils)
        await self._travel()
        counters.statuses[response.status_code] += 1
        if spoils and pieces is not None:
            counters.bytes += await self.connections.send_raw(scope, receive, pieces, lambda: self.closing)
            return
        if "truncate" in faults:
            counters.bytes += await deliver_half(response, send)
            await self.connections.drop(scope, receive)
            return
        counters.bytes += len(response.body)
        await response(scope, receive, send)

    async def _travel(self) -> None:
        if self.rtt_ms:
            await asyncio.sleep(self.rtt_ms / 2000)

    def _spoiled(self, response: Response, faults: set[str]) -> tuple[Response, Pieces | None]:
        """Return the response with hostile faults, and the bytes to send if no server would send it so."""
        headers = tuple((name, value) for name, value in response.headers.items() if name != "content-length")
        answer = Answer(response.status_code, headers, bytes(response.body))
        spoiled = spoil_answer(answer, faults, self.clock.now_ms())
        sent = Response(spoiled.body, spoiled.status)
        sent.raw_headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in spoiled.headers]
        return sent, pieces_of(spoiled, faults)

    def _run_hooks(self, request: RequestInfo) -> tuple[Response | None, set[str]]:
        for hook in (*self.hooks, *([self._failures] if self._failures else [])):
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
        if request.area == "archive" or request.area == "listing":
            if status:
                return self._status_fault("spot", status)
            return await (
                self._endpoints.listing(request)
                if request.area == "listing"
                else self._endpoints.archive(request, faults)
            )
        market = request.area
        weight = request_weight(market, request.endpoint, requested_rows(market, request.params))
        charge = self._weights[market].charge(request.address, weight)
        self._counters[market].weight += weight
        response = self._refusal(market, charge) or (self._status_fault(market, status) if status else None)
        if response is None:
            response, rows = self._endpoints.rest(market, request, faults)
            self._counters[market].rows += rows
        if response.status_code not in (403, 451):
            response.headers["x-mbx-used-weight-1m"] = str(charge.used)
            if market == "spot":
                response.headers["x-mbx-used-weight"] = str(charge.used)
        return response

    def _refusal(self, market: Market, charge: Charge) -> Response | None:
        if charge.refusal == 429:
            return responses.too_much_weight(market, self._weights[market].limit, charge.retry_after_s)
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
                return responses.too_much_weight(market, self._weights[market].limit, 1)
            case "418":
                return responses.banned(market, self.clock.window_ms() + ban_s * 1000, ban_s)
            case "403":
                return responses.firewall()
            case _:
                return responses.restricted_location(market)


def _area_and_endpoint(path: str) -> tuple[Area, str] | None:
    if path in (_BUCKET, f"{_BUCKET}/"):
        return "listing", "list"
    for prefix, area in _PREFIXES.items():
        if path.startswith(prefix):
            return area, "zip" if area == "archive" else path.removeprefix(prefix)
    return None
