"""The commands that serve: `up`, `serve`, `simulate`, and `demo`, which shows the main job on a simulated exchange.

Belongs here: their options. Does not belong here: what they do (`up`, `api`, `simulator`, `demo`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from market_data_pipeline.cli.outcome import (
    NOT_AS_IT_SHOULD_BE,
    errors_in_one_line,
    exit_unless,
    fail,
    load_settings,
    say,
    warn,
)

if TYPE_CHECKING:
    from market_data_pipeline.services.addresses import Address
    from market_data_pipeline.settings import Settings

app = typer.Typer()

Host = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")]
PublicUrl = Annotated[
    str | None, typer.Option(help="Where browsers find the Dagster UI, if they come from elsewhere; for links.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the HTTP API and the browse page.")]


@app.command()
def up(
    port: Port = 8000,
    dagster_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    host: Host = "127.0.0.1",
    public_dagster_url: PublicUrl = None,
) -> None:
    """Run everything until Ctrl-C: HTTP API, browse page, Dagster UI and daemon; what dies is started again."""
    with errors_in_one_line():
        from market_data_pipeline.core.errors import UsageError
        from market_data_pipeline.services.addresses import Address
        from market_data_pipeline.services.process import ServiceFailed
        from market_data_pipeline.services.up import UpRequest
        from market_data_pipeline.services.up import up as run_up

        settings = load_settings()
        if port == dagster_port:
            raise UsageError(f"--port and --dagster-port are both {port}; give each its own")
        request = UpRequest(Address(host, port), Address(host, dagster_port, "--dagster-port"), public_dagster_url)
        _warn_of_strangers(settings, request.api)
        if not request.dagster.is_loopback:
            warn(f"warning: the Dagster UI has no password; whoever reaches port {dagster_port} can start runs")
        try:
            run_up(settings, request, say=say, warn=warn)
        except ServiceFailed as error:
            for line in error.lines:
                warn(f"  {line}")
            fail(str(error), NOT_AS_IT_SHOULD_BE)


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    dagster_url: Annotated[
        str, typer.Option(help="The Dagster webserver that runs are started with.")
    ] = "http://127.0.0.1:3000",
    public_dagster_url: PublicUrl = None,
) -> None:
    """Serve the HTTP API and the browse page alone until Ctrl-C; `up` runs them together with Dagster."""
    with errors_in_one_line():
        from contextlib import suppress

        import uvicorn

        from market_data_pipeline.api.app import create_app
        from market_data_pipeline.services.addresses import Address

        settings = load_settings()
        address = Address(host, port)
        address.refuse_if_taken()
        _warn_of_strangers(settings, address)
        # Under which names others know this machine is theirs to say.
        hosts = () if address.is_loopback else None
        api = create_app(settings, dagster_url=dagster_url, public_dagster_url=public_dagster_url, hosts=hosts)
        say(f"browse and HTTP API at {address.url}")
        with suppress(KeyboardInterrupt):
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


def _warn_of_strangers(settings: "Settings", address: "Address") -> None:
    if not address.is_loopback and settings.market_data_api_token is None:
        warn(f"warning: whoever reaches port {address.port} can start loads; set MARKET_DATA_API_TOKEN to prevent that")


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 9000,
    archive: Annotated[Path | None, typer.Option(help="Folder with `data/` as on data.binance.vision.")] = None,
    rtt_ms: Annotated[float, typer.Option(help="Time each answer takes, ms.")] = 0,
    weights: Annotated[bool, typer.Option(help="Enforce request weights with 429 and 418.")] = True,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RATE", help="Fail a share of the requests or of the archive's files."),
    ] = None,
    now: Annotated[str | None, typer.Option(help="The instant at which the simulated clock starts, ISO.")] = None,
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 1.0,
) -> None:
    """Serve a simulated exchange on this machine until Ctrl-C."""
    with errors_in_one_line():
        from datetime import UTC, datetime

        from market_data_pipeline.core.errors import UsageError
        from market_data_pipeline.core.klines.days import parse_instant, parse_zone
        from market_data_pipeline.simulator.exchange import SimulatedExchange
        from market_data_pipeline.simulator.faults import parse_faults
        from market_data_pipeline.simulator.server import run

        if archive is not None and not (archive / "data").is_dir():
            raise UsageError(f"{archive} has no folder `data`; give the folder that contains it")
        began = datetime.fromtimestamp(parse_instant(now, parse_zone("UTC")) / 1000, tz=UTC) if now else None
        try:
            exchange = SimulatedExchange(
                archive, rtt_ms=rtt_ms, weights=weights, faults=parse_faults(fault or []), now=began, speed=speed
            )
            run(exchange, port=port, on_ready=lambda url: say(f"simulated exchange at {url}"))
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error


@app.command()
def demo() -> None:
    """Run the main job on a simulated exchange: load a month, verify, combine. Ends by itself."""
    with errors_in_one_line():
        from market_data_pipeline.cli.demo import run_demo

        exit_unless(run_demo(load_settings()))
