"""The commands that serve: `up`, `serve`, `simulate`; and `demo`, which needs the simulated exchange.

Belongs here: their options, and warnings about who can reach them. Does not belong here: what they do (`services`,
`api`, `simulator`, `demo`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from market_data_pipeline.cli.load_options import Json
from market_data_pipeline.cli.outcome import (
    FAILED,
    errors_in_one_line,
    exit_unless,
    fail,
    load_settings,
    say,
    warn,
)
from market_data_pipeline.cli.shell.examples import examples

if TYPE_CHECKING:
    from market_data_pipeline.cli.lines.others import ServiceLines
    from market_data_pipeline.services.addresses import Address
    from market_data_pipeline.settings import Settings

app = typer.Typer()

Host = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Address to listen at; 0.0.0.0 is every address of this machine, open to other machines.",
    ),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL under which browsers reach the Dagster UI, for links, if it differs from the one on this machine.",
    ),
]
Port = Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Port of the HTTP API and the browse page.")]


@app.command(epilog=examples("up"))
def up(
    port: Port = 8000,
    dagster_port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Port of the Dagster UI.")] = 3000,
    host: Host = "127.0.0.1",
    public_dagster_url: PublicUrl = None,
    as_json: Json = False,
) -> None:
    """Run everything until Ctrl-C: HTTP API, browse page, Dagster.

    Dagster is its UI, the daemon with schedules and sensors, and the server of the project's code. A process that dies
    is started again.
    """
    with errors_in_one_line():
        from market_data_pipeline.core.errors import UsageError
        from market_data_pipeline.services.addresses import Address
        from market_data_pipeline.services.process import ServiceFailed
        from market_data_pipeline.services.up import UpRequest
        from market_data_pipeline.services.up import up as run_up

        settings = load_settings()
        if port == dagster_port:
            raise UsageError(f"--port and --dagster-port are both {port}; give each its own")
        _require_url("--public-dagster-url", public_dagster_url)
        request = UpRequest(Address(host, port), Address(host, dagster_port, "--dagster-port"), public_dagster_url)
        _warn_if_open_to_others(settings, request.api)
        if not request.dagster.is_loopback:
            warn(f"warning: the Dagster UI has no password; other machines can start runs at port {dagster_port}")
        try:
            with _lines(as_json) as lines:
                run_up(settings, request, say=lines.say if lines else say, warn=lines.warn if lines else warn)
        except ServiceFailed as error:
            for line in error.lines:
                warn(f"  {line}")
            fail(str(error), FAILED)
        _end(as_json)


@app.command(epilog=examples("worker"))
def worker(
    runs: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="How many runs to execute at once.")] = 1,
    as_json: Json = False,
) -> None:
    """Execute runs of Dagster's queue here, until Ctrl-C. Runs under way end first.

    Needs the extra [celery], and deploy/dagster.celery.yaml as `dagster.yaml`.
    """
    with errors_in_one_line():
        from market_data_pipeline.core.errors import UsageError

        settings = load_settings()
        try:
            from market_data_pipeline.instance.workers.worker import work
        except ImportError as error:
            raise UsageError(
                f"a package is missing ({error.name}); install the extra [celery], with the wheel of make dist"
            ) from error
        from market_data_pipeline.api.metrics.server import serve_metrics

        work(settings.home, settings.root, runs=runs, on_ready=partial(serve_metrics, settings))
        _end(as_json)


@app.command(epilog=examples("serve"))
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    dagster_url: Annotated[
        str, typer.Option(metavar="URL", help="Dagster webserver that starts the runs which the API is asked for.")
    ] = "http://127.0.0.1:3000",
    public_dagster_url: PublicUrl = None,
    as_json: Json = False,
) -> None:
    """Run the HTTP API and the browse page alone, until Ctrl-C.

    Loads need a Dagster webserver besides; `up` runs both.
    """
    with errors_in_one_line():
        import uvicorn

        from market_data_pipeline.api.app import create_app
        from market_data_pipeline.services.addresses import Address
        from market_data_pipeline.services.signals import ends_on_stop

        settings = load_settings()
        _require_url("--dagster-url", dagster_url)
        _require_url("--public-dagster-url", public_dagster_url)
        address = Address(host, port)
        address.require_free()
        _warn_if_open_to_others(settings, address)
        # The names under which other machines know this one cannot be known here, so every name is accepted.
        hosts = () if address.is_loopback else None
        api = create_app(settings, dagster_url=dagster_url, public_dagster_url=public_dagster_url, hosts=hosts)
        with _lines(as_json) as lines:
            lines.ready(address.url) if lines else say(f"browse and HTTP API at {address.url}")
        with ends_on_stop():
            uvicorn.run(
                api,
                host=host,
                port=port,
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        _end(as_json)


@contextmanager
def _lines(as_json: bool) -> "Iterator[ServiceLines | None]":
    """What tells of a server in JSON lines until the block ends; None if people are told."""
    if not as_json:
        yield None
        return
    from market_data_pipeline.cli.lines.others import ServiceLines

    with ServiceLines() as lines:
        yield lines


def _end(as_json: bool, **more: Any) -> None:
    """Print the result of a command that was to run until it was stopped, and was."""
    if as_json:
        from market_data_pipeline.cli.console import print_json

        print_json({"ok": True, **more})


def _require_url(option: str, url: str | None) -> None:
    from market_data_pipeline.core.errors import UsageError
    from market_data_pipeline.core.urls import WRITE_URL, is_url

    if url is not None and not is_url(url):
        raise UsageError(f"{option} {url!r} cannot be used: {WRITE_URL}")


def _warn_if_open_to_others(settings: "Settings", address: "Address") -> None:
    if not address.is_loopback and settings.market_data_api_token is None:
        warn(
            f"warning: other machines can start loads at port {address.port}; set MARKET_DATA_API_TOKEN to prevent that"
        )


@app.command(epilog=examples("simulate"))
def simulate(
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen at; 0 takes one that is free.")] = 9000,
    host: Host = "127.0.0.1",
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder that contains `data/`, laid out as data.binance.vision, with real klines to serve.",
        ),
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Play the lives of pairs that this JSON file tells, and only these; read again when it changes.",
        ),
    ] = None,
    rtt_ms: Annotated[float, typer.Option(metavar="MS", help="Round-trip time of each request, ms.")] = 0,
    weights: Annotated[bool, typer.Option(help="Refuse requests over the weight limit, with 429 and 418.")] = True,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RATE",
            help="Commit this fault in a share of the requests or archive files, 0 to 1; may be given several times.",
        ),
    ] = None,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO time at which the simulated clock starts; now if not given.")
    ] = None,
    speed: Annotated[
        float, typer.Option(metavar="X", help="Simulated seconds per real second; 0 stops the clock.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Run a simulated exchange on this machine, until Ctrl-C."""
    with errors_in_one_line():
        from datetime import UTC, datetime

        from market_data_pipeline.core.errors import UsageError
        from market_data_pipeline.core.klines.days import parse_instant, parse_zone
        from market_data_pipeline.services.signals import ends_on_stop
        from market_data_pipeline.simulator.exchange import SimulatedExchange
        from market_data_pipeline.simulator.faults import parse_faults
        from market_data_pipeline.simulator.server import run

        if archive is not None and not (archive / "data").is_dir():
            raise UsageError(f"{archive} has no folder `data`; give the folder that contains it")
        began = datetime.fromtimestamp(parse_instant(now, parse_zone("UTC")) / 1000, tz=UTC) if now else None
        try:
            exchange = SimulatedExchange(
                archive,
                scenario=scenario,
                rtt_ms=rtt_ms,
                weights=weights,
                faults=parse_faults(fault or []),
                now=began,
                speed=speed,
            )
            exchange.on_problem = lambda problem: warn(f"warning: the scenario goes on as it was: {problem}")
            with _lines(as_json) as lines, ends_on_stop():
                ready = lines.ready if lines else lambda url: say(f"simulated exchange at {url}")
                run(exchange, host=host, port=port, on_ready=ready)
        except BrokenPipeError:  # nobody reads the output
            raise
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error
        _end(as_json, served=exchange.stats())


@app.command(epilog=examples("demo"))
def demo(as_json: Json = False) -> None:
    """Load, combine and verify a month from a simulated exchange.

    Needs no network, writes to a folder of its own beside the data root, and ends by itself.
    """
    with errors_in_one_line():
        from market_data_pipeline.cli.demo import run_demo

        exit_unless(run_demo(load_settings(), as_json=as_json))
