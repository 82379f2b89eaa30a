"""What the end-to-end tests share: an exchange that fails on demand, the command line, and trees of files to compare.

Does not belong here: any assertion about the project.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from market_data_pipeline.cli.main import app
from market_data_pipeline.cli.outcome import INTERRUPTED
from market_data_pipeline.core.counting import memory
from market_data_pipeline.core.counting.file import keep_counts
from market_data_pipeline.core.counting.memory import Key
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.sources.budgets.budget import BudgetOf
from market_data_pipeline.core.sources.budgets.file import BudgetFile
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.queries import RequestInfo
from market_data_pipeline.simulator.server import RunningExchange, serve
from market_data_pipeline_tests.stopping import OWN_CONSOLE

CHECKOUT = Path(__file__).parents[1]
MINUTE_MS = 60_000
# Early in its minute: a client that carries this clock on with its own has most of a minute before the next turn.
NOON = datetime(2024, 5, 15, 12, 0, 5, tzinfo=UTC)
PATIENCE = float(os.environ.get("MARKET_DATA_TEST_PATIENCE", "1"))
"""How many times as long as usual a test waits, for machines that are slow."""
_LONGEST_COMMAND_S = 120 * PATIENCE
# They name the user's folder for program state: on Linux and macOS, on Windows.
STATE_VARIABLES = ("XDG_STATE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA")
Simulate = Callable[..., RunningExchange]


def at(text: str) -> int:
    """The instant, meant as UTC, in ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def span(start: str, end: str) -> Span:
    return Span(at(start), at(end))


def minutes(within: Span) -> list[int]:
    """The open times of the klines that the span has room for."""
    return list(range(within.start_ms, within.end_ms, MINUTE_MS))


@contextmanager
def simulated(exchange: SimulatedExchange, **options: Any) -> Iterator[RunningExchange]:
    """Serve an exchange while the block runs. Its end takes 0.2 s, for which no test waits."""
    stack = ExitStack()
    running = stack.enter_context(serve(exchange, **options))
    try:
        yield running
    finally:
        threading.Thread(target=stack.close).start()


def is_page(request: RequestInfo) -> bool:
    """True for a request for klines of a window, not for the first or newest kline of a pair."""
    return request.endpoint == "klines" and "endTime" in request.params


def strike(
    exchange: SimulatedExchange, fault: str, *, times: int = 1, where: Callable[[RequestInfo], bool] = is_page
) -> None:
    """Commit the fault on the next so many requests that fit."""
    left = times

    def hook(request: RequestInfo) -> str | None:
        nonlocal left
        if left and where(request):
            left -= 1
            return fault
        return None

    exchange.hooks.append(hook)


def wait_until(true: Callable[[], bool], within_s: float = 120) -> None:
    """Look until it is true; fail after so many seconds, as long as the machine is not slow."""
    until = time.monotonic() + within_s * PATIENCE
    while not true():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def budget_in(folder: Path) -> BudgetOf:
    """The request-weight budgets in files of a folder."""
    return partial(BudgetFile, folders=[folder])


def record(exchange: SimulatedExchange) -> list[RequestInfo]:
    """A list that every further request is added to."""
    seen: list[RequestInfo] = []
    exchange.hooks.append(lambda request: seen.append(request))  # type: ignore[func-returns-value]
    return seen


@dataclass
class MarketData:
    """The command line, with a data root and an exchange of its own and nothing of the tester's environment."""

    root: Path
    url: str
    env: dict[str, str] = field(default_factory=dict)
    # Words before those of each process, such as for another host.
    under: tuple[str, ...] = ()

    def __call__(self, *arguments: str | Path, **env: str) -> Result:
        """Run a command in this process. Whoever interrupts it means the tests."""
        before = signal.getsignal(signal.SIGINT)
        done = CliRunner().invoke(app, [str(word) for word in arguments], env=self._env(env), catch_exceptions=False)
        if done.exit_code == INTERRUPTED:
            signal.signal(signal.SIGINT, before)  # the command would end this process at the next one
            raise KeyboardInterrupt
        return done

    def start(
        self,
        *arguments: str | Path,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        own_group: bool = False,
        **env: str,
    ) -> "subprocess.Popen[str]":
        """Start a command in a process of its own, on POSIX also in a process group of its own, as a shell does."""
        given = {**os.environ, **self._env(env)}
        return subprocess.Popen(
            [*self.under, sys.executable, "-m", "market_data_pipeline", *map(str, arguments)],
            cwd=CHECKOUT,
            env={name: value for name, value in given.items() if value is not None},
            stdout=stdout,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            creationflags=OWN_CONSOLE,
            start_new_session=own_group,
        )

    def run(self, *arguments: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own to its end, which must come."""
        with self.start(*arguments, **env) as process:
            try:
                out, err = process.communicate(timeout=_LONGEST_COMMAND_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _env(self, more: dict[str, str]) -> dict[str, str | None]:
        unset = {name.upper(): None for name in Settings.model_fields}
        mine = {"MARKET_DATA_DIR": str(self.root), "MARKET_DATA_EXCHANGE_URL": self.url}
        return {**unset, **mine, **self.env, **more}


def counts_of(act: Callable[[], object]) -> dict[Key, float]:
    """What this process counts meanwhile. Nothing takes it into a file, as a command of an earlier test may let it."""
    keep_counts(Path(uuid.uuid4().hex))  # a folder that is not there gets none
    memory.take()
    act()
    return memory.take()


def parsed(stdout: str) -> tuple[list[dict[str, Any]], Any]:
    """The events and the result of a command with `--json`."""
    *events, result = [json.loads(line) for line in stdout.splitlines()]
    assert all(isinstance(event["event"], str) for event in events), events
    assert not (isinstance(result, dict) and "event" in result), result
    return events, result


def without_progress(stderr: str) -> str:
    """What a command wrote to stderr, less the progress lines of a load, runs or an export that take seconds."""
    progress = re.compile(
        r"(spot|futures) \S+: \d+ of \d+ days?, |[\d,]+ of [\d,]+ runs?: |exporting \S+ \S+, \d+ of \d+$"
    )
    return "".join(line for line in stderr.splitlines(keepends=True) if not progress.match(line))


def dataset_folder(root: Path, market: str, token: str) -> Path:
    return root / {"spot": "binance", "futures": "binanceusdm"}[market] / token / "1m"


def chunk_files(root: Path) -> dict[str, Path]:
    """Every chunk under the data root, by its day."""
    return {path.stem[-10:]: path for path in sorted(root.glob("*/*/1m/chunks/*.parquet"))}


def rows_by_day(root: Path) -> dict[str, int]:
    return {day: pq.read_metadata(path).num_rows for day, path in chunk_files(root).items()}


def klines_of(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read()


def data_files(root: Path, *, but: str = "") -> dict[str, bytes]:
    """The data of a store: no locks, logs, weight budget or notes of proofs, nothing of Dagster's or set aside.

    Files named as `but` says are left out.
    """
    return dict(_data_files(root, {".lock", "proof.json", but}))


def _data_files(root: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.glob("binance*/**/*")):
        if path.is_file() and path.name not in names and path.parent.name != "quarantine":
            yield path.relative_to(root).as_posix(), path.read_bytes()


def quarantined(root: Path) -> dict[str, bytes]:
    """The files that were set aside, by name."""
    return {path.name: path.read_bytes() for path in sorted(root.glob("binance*/*/1m/quarantine/*"))}


def everything(root: Path) -> dict[str, bytes]:
    """Every file under a folder; nothing if there is no such folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def mark_many_live(settings: Settings, count: int) -> None:
    """Create so many datasets without chunks, and mark them live."""
    store = store_of(settings)
    for number in range(count):
        pair, start = f"N{number:03d}/USDT", date(2024, 3, 1)
        store.create(Market.SPOT, pair, zone=parse_zone("UTC"), start=start).mark_live(True)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def counted(exchange: SimulatedExchange, market: str) -> dict[str, Any]:
    """What the exchange counted of a market."""
    return exchange.stats()[market]
