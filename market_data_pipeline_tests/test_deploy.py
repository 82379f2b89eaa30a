"""The files of deploy/ agree with the code and with each other: commands, variables, ports, names, limits, secrets.

Belongs here: what can be told of them without an engine of containers. Does not belong here: the image and the small
compose.yaml of one container (`test_container`). docs/deployment.md says what was run by hand.
"""

import re
from collections.abc import Iterable
from typing import Any

import dagster as dg
import pytest
import typer.main
import yaml
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import dagster_webserver

from market_data_pipeline.cli.main import app
from market_data_pipeline.instance.names import LOCATION, LOCATION_MODULE, YEAR_TAG
from market_data_pipeline_tests.test_container import COMMANDS, LIBPQ, TOP, VARIABLES, text, the, the_copies

PROGRAMS: dict[str, Any] = {
    "market-data": typer.main.get_command(app),
    "dagster": create_dagster_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
    "dagster-webserver": dagster_webserver,
}
BUCKET = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"}
OF_THE_HOMES = {"CELERY_BROKER_URL": "deploy/dagster.celery.yaml", "CODE_SERVER_HOST": "deploy/workspace.yaml"}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?-|:\?)([^}]*))?\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|REDISCLI_AUTH|BROKER_URL")


def accept(program: str, words: Iterable[str]) -> dict[str, Any]:
    """Parse the words as the program does; the values of the options of its last command."""
    here = {target: str(TOP / source) for source, target in the_copies().items()}
    command, rest, context = PROGRAMS[program], [here.get(word, word) for word in words], None
    while True:
        context = command.make_context(program, rest, parent=context)
        if not hasattr(command, "resolve_command"):  # typer has a click of its own
            return dict(context.params)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, name


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    """The variables of `.env.example`, filled in where a value is asked for."""
    lines = re.findall(r"^(\w+)=(.*)$", text("deploy/.env.example"), re.MULTILINE)
    assert len(lines) == len(dict(lines))
    return dict(lines)


@pytest.fixture(scope="module")
def services(example: dict[str, str]) -> dict[str, Any]:
    """The services of deploy/compose.yaml with the variables of `.env.example`, and `x` for what is to be filled in."""

    def value_of(match: re.Match[str]) -> str:
        name, how, default = match.groups()
        return example.get(name) or ("x" if how == ":?" else default or "")

    found: dict[str, Any] = yaml.safe_load(VARIABLE.sub(value_of, text("deploy/compose.yaml")))["services"]
    return found


def parts(services: dict[str, Any]) -> dict[str, Any]:
    """The services that run the image."""
    return {name: service for name, service in services.items() if service["image"] == "market-data"}


def test_every_command_is_one_of_the_image(services: dict[str, Any]) -> None:
    options = {name: accept(service["command"][0], service["command"][1:]) for name, service in parts(services).items()}
    assert options.keys() == {"code-server", "webserver", "daemon", "api", "worker", "live"}
    code_server = options["code-server"]
    assert (code_server["module_name"], code_server["location_name"]) == (LOCATION_MODULE, LOCATION)
    for name in ("code-server", "webserver", "daemon"):
        kind, *check = services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        if check[0] == "python":
            compile(check[2], name, "exec")
        else:
            accept(check[0], check[1:])
    # It has the health check of the image, which asks the port that `serve` has by default.
    assert "healthcheck" not in services["api"]
    assert f", {options['api']['port']}, " in the("HEALTHCHECK")


def test_every_variable_is_one_that_somebody_reads(services: dict[str, Any]) -> None:
    for service in parts(services).values():
        assert service["environment"].keys() <= VARIABLES | LIBPQ | BUCKET | OF_THE_HOMES.keys()
    for name, file in OF_THE_HOMES.items():
        assert f"{{env: {name}}}" in text(file)


def test_the_example_names_what_compose_asks_for_and_its_defaults(example: dict[str, str]) -> None:
    asked = {name: (how, default) for name, how, default in VARIABLE.findall(text("deploy/compose.yaml"))}
    told = {**example, **dict(re.findall(r"^#(\w+)=(.*)$", text("deploy/.env.example"), re.MULTILINE))}
    assert told.keys() == asked.keys()
    required = {name for name, (how, _) in asked.items() if how == ":?"}
    assert {example[name] for name in required} == {""}
    for name, value in example.items():
        if name not in required:
            assert value == asked[name][1], name


def test_no_secret_is_in_the_file() -> None:
    document = yaml.safe_load(text("deploy/compose.yaml"))
    for service in document["services"].values():
        for name, value in service["environment"].items() if "environment" in service else ():
            if SECRET.search(name):
                assert {how for _, how, _ in VARIABLE.findall(value)} == {":?"}, name
    assert ".env" in text(".gitignore").splitlines()


def test_the_parts_find_each_other(services: dict[str, Any]) -> None:
    environment = services["worker"]["environment"]
    assert all(service["environment"] == environment for service in parts(services).values())
    [server] = yaml.safe_load(text("deploy/workspace.yaml"))["load_from"]
    code_server = accept("dagster", services["code-server"]["command"][1:])
    assert server["grpc_server"]["port"] == code_server["port"]
    assert server["grpc_server"]["location_name"] == LOCATION
    api = accept("market-data", services["api"]["command"][1:])
    webserver = accept("dagster-webserver", services["webserver"]["command"][1:])
    for url, port in (
        (api["dagster_url"], webserver["port"]),
        (environment["AWS_ENDPOINT_URL"], 8333),
        (environment["CELERY_BROKER_URL"], 6379),
    ):
        host, given = re.fullmatch(r"\w+://(?:.*@)?([\w-]+):(\d+)(?:/\d+)?", url).groups()
        assert host in services
        assert int(given) == port
    assert "-s3.port=8333" in services["objects"]["command"]
    assert {environment["CODE_SERVER_HOST"], environment["PGHOST"]} <= services.keys()
    bucket = environment["MARKET_DATA_DIR"].removeprefix("s3://").partition("/")[0]
    assert services["bucket"]["command"][0].count(f" {bucket}") == 2
    home = environment["DAGSTER_HOME"]
    assert services["daemon"]["command"][-1] == the_copies()["deploy/workspace.yaml"] == f"{home}/workspace.yaml"
    settings = f"./dagster.celery.yaml:{the_copies()['deploy/dagster.celery.yaml']}:ro"
    logs = re.search(r"LOG_DIR=(\S+)", text("Dockerfile"))
    assert logs
    # The counts of all containers are in one folder, as the API's /metrics shows those of its own machine.
    assert all(service["volumes"] == [settings, f"logs:{logs[1]}"] for service in parts(services).values())


def test_only_this_machine_can_connect_at_the_ports_of_the_docs(services: dict[str, Any]) -> None:
    ports = {str(option.name): option.default for option in COMMANDS["up"].params}
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "webserver": [f"127.0.0.1:{ports['dagster_port']}:{ports['dagster_port']}"],
        "api": [f"127.0.0.1:{ports['port']}:{ports['port']}"],
    }
    api = accept("market-data", services["api"]["command"][1:])
    assert api["public_dagster_url"] == f"http://127.0.0.1:{ports['dagster_port']}"


def test_services_start_again_and_wait_for_what_they_need(services: dict[str, Any]) -> None:
    assert {service["restart"] for name, service in services.items() if name != "bucket"} == {"unless-stopped"}
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[needed]["healthcheck"]["test"]
            else:
                assert (needed, how["condition"]) == ("bucket", "service_completed_successfully")
    assert "code-server" in services["daemon"]["depends_on"]
    mounted = {line.partition(":")[0] for service in services.values() for line in service.get("volumes", ())}
    volumes = {name for name in mounted if not name.startswith(".")}
    assert yaml.safe_load(text("deploy/compose.yaml"))["volumes"].keys() == volumes


def test_the_queue_lets_begin_what_the_workers_have_room_for(services: dict[str, Any]) -> None:
    runs = yaml.safe_load(text("deploy/dagster.celery.yaml"))["concurrency"]["runs"]
    each = accept("market-data", services["worker"]["command"][1:])["runs"]
    assert runs["max_concurrent_runs"] == each * services["worker"]["deploy"]["replicas"]
    assert "deploy" not in services["daemon"]  # there is one


@pytest.mark.parametrize("file", ["dagster.yaml", "deploy/dagster.postgres.yaml", "deploy/dagster.celery.yaml"])
def test_runs_of_loads_leave_a_place_for_others(file: str) -> None:
    """Dagster's own counter is asked, with runs of several years, as the limit names no value."""
    from dagster._core.utils import make_new_run_id
    from dagster._utils.tags import TagConcurrencyLimitsCounter

    runs = yaml.safe_load(text(file))["concurrency"]["runs"]

    def run(**tags: str) -> dg.DagsterRun:
        return dg.DagsterRun(job_name="load", run_id=make_new_run_id(), tags=tags)

    begun = [run(**{YEAR_TAG: str(2020 + number)}) for number in range(runs["max_concurrent_runs"] - 1)]
    counter = TagConcurrencyLimitsCounter(runs["tag_concurrency_limits"], begun[:-1])
    assert not counter.is_blocked(begun[-1])
    counter.update_counters_with_launched_item(begun[-1])
    assert counter.is_blocked(run(**{YEAR_TAG: "2020"}))
    assert counter.is_blocked(run(**{YEAR_TAG: "2030"}))
    assert not counter.is_blocked(run())
