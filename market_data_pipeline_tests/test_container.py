"""The container's files agree with the code: settings, ports, commands, volumes, the health check, the lock.

Nothing is built here. docs/container.md says what was built and run by hand.
"""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from market_data_pipeline.cli.main import app
from market_data_pipeline.settings import Settings, load

TOP = Path(__file__).parents[1]
DEFAULTS = {
    "MARKET_DATA_DIR": "/data/MarketData",
    "MARKET_TYPE": "futures",
    "SYMBOL": "BTC/USDT",
    "ALIGN_TZ": "UTC",
    "BUILD_COMBINED_ON_BACKFILL": "0",
    "MANIFEST_WRITE_INTERVAL_SEC": "300",
    "LOG_DIR": "/app/logs",
}
VARIABLES = {name.upper() for name in Settings.model_fields}
LIBPQ = {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGDATABASE", "PGSSLMODE"}
SHELLS = {"sh": "\\", "powershell": "`", "bat": "^"}
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def text(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its arguments, in order."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def the(word: str) -> str:
    """The arguments of an instruction that stands once in the image's own stage."""
    last = max(i for i, (name, _) in enumerate(instructions()) if name == "FROM")
    (found,) = [rest for name, rest in instructions()[last:] if name == word]
    return found


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in the("ENV").split())


def compose() -> dict[str, Any]:
    return yaml.safe_load(text("compose.yaml"))


def fences(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), flags=re.MULTILINE | re.DOTALL)


def test_the_image_sets_the_documented_defaults_and_no_other_setting() -> None:
    settings = {name: value for name, value in environment().items() if name in VARIABLES}
    assert settings == DEFAULTS
    assert environment().keys() - settings.keys() == {"PATH", "PYTHONUNBUFFERED", "XDG_STATE_HOME"}
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `(.*)` \|$", text("docs/container.md"), re.MULTILINE))
    assert rows == DEFAULTS


def test_settings_take_the_image_s_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    plain = load()
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    here = {"market_data_dir": Path("/data/MarketData"), "log_dir": Path("/app/logs")}
    assert load() == plain.model_copy(update=here)


def test_the_image_runs_a_command_that_exists_as_a_user_without_rights() -> None:
    program, command, *options = json.loads(the("CMD"))
    assert program in tomllib.loads(text("pyproject.toml"))["project"]["scripts"]
    known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= known
    assert not [rest for word, rest in instructions() if word == "ENTRYPOINT"]
    assert f"--uid 1000 {the('USER')}" in the("RUN")


def test_ports_are_those_of_the_command() -> None:
    ports = {str(option.default) for option in COMMANDS["up"].params if str(option.name).endswith("port")}
    assert set(the("EXPOSE").split()) == ports == {"8000", "3000"}
    assert set(compose()["services"]["market-data"]["ports"]) == {f"127.0.0.1:{port}:{port}" for port in ports}
    for page in ("README.md", "docs/container.md"):
        assert set(re.findall(r"-p (127\.0\.0\.1:\S+)", text(page))) - {"127.0.0.1:8080:8000`"} == {
            f"127.0.0.1:{port}:{port}" for port in ports
        }


def test_the_health_check_asks_a_route_that_exists() -> None:
    from market_data_pipeline.api.app import create_app

    program, flag, code = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    (port,) = re.findall(r"HTTPConnection\('127\.0\.0\.1', (\d+)", code)
    (path,) = re.findall(r"request\('GET', '(.+?)'\)", code)
    assert port in the("EXPOSE").split()
    assert path in create_app(load(), dagster_url="http://127.0.0.1:3000").openapi()["paths"]


def test_the_data_root_is_the_volume_everywhere() -> None:
    root = DEFAULTS["MARKET_DATA_DIR"]
    services = compose()["services"]
    assert the("VOLUME") == root
    assert services["market-data"]["volumes"] == [f"market-data:{root}", f"logs:{DEFAULTS['LOG_DIR']}"]
    assert services["reader"]["volumes"] == [f"market-data:{root}:ro"]
    mounted = re.findall(r' -v "?(?:[^\s"]|(?<=My) )+?:(/\w[^\s:"`]*)', text("README.md") + text("docs/container.md"))
    assert set(mounted) == {root, "/app/dagster"}


def test_folders_that_are_named_are_made_in_the_image() -> None:
    made = the("RUN").split()
    named = {
        DEFAULTS["MARKET_DATA_DIR"],
        DEFAULTS["LOG_DIR"],
        *re.findall(r"/app/\w+(?![\w.])", text("docs/container.md")),
    }
    assert named - {"/app/research"} <= set(made)


def test_compose_only_sets_variables_that_somebody_reads() -> None:
    service = compose()["services"]["market-data"]["environment"]
    assert service.keys() <= VARIABLES | LIBPQ
    assert compose()["services"]["reader"]["environment"].keys() <= VARIABLES
    for name in service.keys() & DEFAULTS.keys():
        assert service[name] == f"${{{name}:-}}"
    database = compose()["services"]["postgres"]["environment"]
    assert {name.removeprefix("PG"): service[name] for name in ("PGUSER", "PGPASSWORD", "PGDATABASE")} == {
        "USER": database["POSTGRES_USER"],
        "PASSWORD": database["POSTGRES_PASSWORD"],
        "DATABASE": database["POSTGRES_DB"],
    }
    assert service["PGHOST"] in compose()["services"]


def test_postgres_changes_the_storage_and_nothing_else() -> None:
    ours, postgres = yaml.safe_load(text("dagster.yaml")), yaml.safe_load(text("deploy/dagster.postgres.yaml"))
    assert ours.pop("storage") != postgres.pop("storage")
    assert postgres == ours
    home = compose()["services"]["market-data"]["environment"]["DAGSTER_HOME"]
    assert the_copies()["deploy/dagster.postgres.yaml"] == f"{home}/dagster.yaml"


def test_workers_change_the_launcher_and_the_patience_of_the_queue() -> None:
    alone, workers = (
        yaml.safe_load(text("deploy/dagster.postgres.yaml")),
        yaml.safe_load(text("deploy/dagster.celery.yaml")),
    )
    assert workers.pop("run_launcher")["config"] == {"broker": {"env": "CELERY_BROKER_URL"}}
    for settings in (alone, workers):
        settings["run_queue"] = {name: value for name, value in settings["run_queue"].items() if "failure" not in name}
        del settings["run_monitoring"]["start_timeout_seconds"]
    assert workers == alone
    assert the_copies()["deploy/dagster.celery.yaml"] == "/app/workers/dagster.yaml"


def test_the_extras_of_the_image_fit_dagster_and_are_locked() -> None:
    (extras,) = re.findall(r'"/build\[([\w,]+)\]"', text("Dockerfile"))
    known = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(extras.split(",")) == known.keys() - {"dev"}
    release = f"0.{16 + int(version('dagster').split('.')[1])}.{version('dagster').split('.')[2]}"
    of_dagster = {name for extra in extras.split(",") for name in known[extra] if name.startswith("dagster-")}
    assert of_dagster == {f"dagster-{name}=={release}" for name in ("celery", "k8s", "postgres")}
    locked = re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==", text("requirements.lock"), flags=re.MULTILINE)
    assert {
        "celery",
        "dagster-celery",
        "dagster-k8s",
        "dagster-postgres",
        "obstore",
        "psycopg2-binary",
        "redis",
    } <= set(locked)


def test_packages_come_from_the_lock_and_from_no_address() -> None:
    runs = [rest for word, rest in instructions() if word == "RUN"]
    assert all("--require-hashes" in run or "--no-index" in run for run in runs if "pip " in run)
    assert "://" not in text("Dockerfile") + text("requirements.lock")


def the_copies() -> dict[str, str]:
    """What is copied from the checkout, and where to."""
    copies = [rest.split() for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    return {source: target for *sources, target in copies for source in sources}


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = text(".dockerignore").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == the_copies().keys()
    assert [source for source in the_copies() if not (TOP / source).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/container.md"])
@pytest.mark.parametrize("language", SHELLS)
def test_each_shell_has_run_lines_with_its_own_line_ends(page: str, language: str) -> None:
    blocks = [block for block in fences(page, language) if "docker run -d" in block]
    assert blocks
    for block in blocks:
        for line in block.split("docker run -d")[1].splitlines()[:-1]:
            assert line.endswith(SHELLS[language])


def test_commands_in_the_docs_exist() -> None:
    given = re.findall(
        r"(?:market-data market-data|market_data_pipeline|exec market-data market-data) (?:--\w+ \S+ )*([a-z]+)",
        "\n".join(fences("docs/container.md", "")),
    )
    assert given
    assert set(given) <= COMMANDS.keys()
