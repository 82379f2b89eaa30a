"""The docs against the program: what each setting, route, option and exit code is, not only that it is named.

Belongs here: tables of the docs that a program can be asked about. Does not belong here: prose, and the diagram of the
rooms (`test_architecture`).
"""

import inspect
import itertools
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import typer.main
from typer.core import TyperOption

from market_data_pipeline import settings
from market_data_pipeline.api.app import create_app
from market_data_pipeline.app.backfill import BackfillReport
from market_data_pipeline.app.combine import CombinedMany, CombinedOne
from market_data_pipeline.app.live import LiveReport
from market_data_pipeline.app.market.bulk import LoadedDataset, ManyReport
from market_data_pipeline.app.market.planning import LoadPlan
from market_data_pipeline.app.report import Report, ReportedOne
from market_data_pipeline.cli import outcome
from market_data_pipeline.cli.main import app
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.core.loading.cost import Cost
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.instance.names import CAN_BE_READ, CHECKS, FRESH, MATCHES_OTHER_SOURCE, NO_PAIR_IS_LOST
from market_data_pipeline.instance.runs import RunReport
from market_data_pipeline.reader.exporting import Exported, ExportReport
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.faults import FAULTS
from market_data_pipeline.simulator.hostile.committing import HOSTILE_ANSWERS, HOSTILE_FILES

TOP = Path(__file__).parents[1]
PAGES = sorted([TOP / "README.md", TOP / "CHANGELOG.md", TOP / "SECURITY.md", *(TOP / "docs").rglob("*.md")])
# Variables in the docs that are read by others: pip, requests, Postgres, Git Bash, a dagster.yaml; and those of tests.
VARIABLES_OF_OTHERS = {
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "NO_COLOR",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "MSYS_NO_PATHCONV",
    "DAGSTER_CURRENT_IMAGE",
    "XDG_STATE_HOME",
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_URL",
    "CELERY_BROKER_WRITE_URL",
    "LIVE_UNIVERSE",
    "RUNS_PER_WORKER",
    "MARKET_DATA_PEERS",
    "MARKET_DATA_FUZZ_BODIES",
    "MARKET_DATA_FUZZ_SEED",
    "MARKET_DATA_MODEL_SEED",
    "MARKET_DATA_MODEL_SEQUENCES",
    "MARKET_DATA_REAL_KLINES",
    "MARKET_DATA_REQUIRE_REAL",
    "MARKET_DATA_REQUIRE_SERVICES",
    "MARKET_DATA_TEST_PATIENCE",
    "MARKET_DATA_TEST_POSTGRES",
    "MARKET_DATA_TEST_RABBITMQ",
    "MARKET_DATA_TEST_REDIS",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_SESSION_TOKEN",
}


def text(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


def rows_of(page: str, header: str) -> dict[str, list[str]]:
    """The rows of the table with this header line: the cells by the first one, which loses its backticks."""
    _, found, rest = text(page).partition(f"\n{header}\n")
    assert found, f"{page} has no table {header}"
    lines = itertools.takewhile(lambda line: line.startswith("|"), rest.splitlines()[1:])
    rows = [[cell.strip() for cell in re.split(r"(?<= )\|(?= )", line[1:-1])] for line in lines]
    assert len({cells[0] for cells in rows}) == len(rows), f"{page} has a row twice"
    return {cells[0].strip("`"): cells[1:] for cells in rows}


def beginnings(rows: dict[str, list[str]], expected: dict[str, list[str]]) -> dict[str, list[str]]:
    """The rows with a last cell as long as the expected one: after what the program says the docs may say more."""
    return {
        name: [*cells[:-1], cells[-1][: len(expected[name][-1])]] if name in expected else cells
        for name, cells in rows.items()
    }


def readme_line(start: str) -> str:
    """What follows these words in their paragraph of the README, as one line."""
    _, found, rest = text("README.md").partition(start)
    assert found, f"the README has no {start!r}"
    return " ".join(rest.partition("\n\n")[0].split())


# --- the command line

COMMANDS_TABLE = "| command | what it does | options |"
OPTIONS_TABLE = "| option | default | meaning |"
PAGES_OF_COMMANDS = {"up": "docs/operations.md", "simulate": "docs/simulator.md"}
GROUP: Any = typer.main.get_command(app)


def options_of(command: Any) -> dict[str, TyperOption]:
    """The command's options by each of their names, `--no-...` too."""
    options = [option for option in command.params if isinstance(option, TyperOption) and "--help" not in option.opts]
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


def default_of(option: TyperOption) -> str:
    """A default as the docs show it; empty for none, and for a switch that is off."""
    if isinstance(option.default, bool):
        return "on" if option.default else ""
    return "" if option.default is None else str(option.default)


def test_every_command_is_in_the_readme() -> None:
    assert rows_of("README.md", COMMANDS_TABLE).keys() == GROUP.commands.keys()


@pytest.mark.parametrize("name", GROUP.commands)
def test_the_row_of_a_command_in_the_readme_has_its_options(name: str) -> None:
    options = options_of(GROUP.commands[name])
    _, shown = rows_of("README.md", COMMANDS_TABLE)[name]
    documented = set(re.findall(r"`(--[a-z-]+)[ a-z]*`", shown))
    assert documented - options.keys() == set(), "no such option"
    if name in PAGES_OF_COMMANDS:
        documented |= rows_of(PAGES_OF_COMMANDS[name], OPTIONS_TABLE).keys()
    documented |= options_of(GROUP).keys()
    # Of a pair that turns one thing on and off, the docs need to name one.
    missing = [option for option, known in options.items() if not documented & {*known.opts, *known.secondary_opts}]
    assert missing == []


@pytest.mark.parametrize("name", PAGES_OF_COMMANDS)
def test_a_table_of_options_has_the_default_and_the_help_of_each(name: str) -> None:
    options = {name: option for name, option in options_of(GROUP.commands[name]).items() if name in option.opts}
    expected = {
        name: [f"`{default_of(option)}`" if default_of(option) else "", option.help] for name, option in options.items()
    }
    assert beginnings(rows_of(PAGES_OF_COMMANDS[name], OPTIONS_TABLE), expected) == expected


def test_the_options_before_a_command_are_in_the_readme() -> None:
    documented = dict(re.findall(r"`(--[a-z-]+)(?: ([^`]+))?`", readme_line("Options before the command")))
    assert documented == {name: option.metavar or "" for name, option in options_of(GROUP).items()}


def test_the_addresses_of_up_are_in_the_readme() -> None:
    options = options_of(GROUP.commands["up"])
    page, dagster = (
        f"http://{options['--host'].default}:{options[port].default}" for port in ("--port", "--dagster-port")
    )
    expected = f"browse page on <{page}> and the Dagster UI on <{dagster}>"
    assert expected in readme_line("`up` serves the")


def test_the_exit_codes_are_in_the_readme() -> None:
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", readme_line("Exit codes:"))}
    named = {outcome.FAILED, outcome.WRONG_USAGE, outcome.NOT_NOW, outcome.INTERRUPTED, outcome.NOT_READ}
    assert codes == {0, *named}


def command_lines() -> list[str]:
    """The arguments of every `market-data` in a block of code, of all pages."""
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]
    started = r"^(?:\$ )?(?:docker exec market-data )?(?:\.venv/bin/)?market-data (.+)$"
    lines = {line for block in blocks for line in re.findall(started, block, re.MULTILINE)}
    # What follows two spaces or more is a remark.
    return sorted({re.split(r" {2,}", line)[0] for line in lines})


@pytest.mark.parametrize("line", command_lines())
def test_a_command_line_in_the_docs_is_understood(line: str) -> None:
    # Raises where there is no such command or option, or where a value is of the wrong kind.
    with GROUP.make_context("market-data", shlex.split(line, comments=True)) as context:
        name, command, rest = GROUP.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(name, rest, parent=context).close()


# --- settings


def default_texts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What docs/settings.md has to show as the default of each variable."""
    texts = {}
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        texts[name.upper()] = "unset" if default is None else f"`{int(default) if default is False else default}`"
    places = {}
    for platform in ("linux", "win32"):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "platform", platform)
            places[platform] = settings._default_data_dir()
    elsewhere, windows = places["linux"].relative_to(Path.home()), PureWindowsPath(str(places["win32"]))
    under = Settings(market_data_dir=Path("/root"))
    return texts | {
        "MARKET_DATA_DIR": f"`~/{elsewhere}`, on Windows `{windows}`",
        "LOG_DIR": f"`{under.logs.relative_to(under.root)}` under the data root",
        "DAGSTER_HOME": f"`{under.home.relative_to(under.root)}` under the data root",
    }


def test_every_setting_is_on_its_page_with_its_default_and_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    meanings = {name.upper(): field.description for name, field in Settings.model_fields.items()}
    expected = {name: [default, meanings[name]] for name, default in default_texts(monkeypatch).items()}
    assert rows_of("docs/settings.md", "| variable | default | meaning |") == expected


def test_every_variable_in_the_docs_is_a_setting() -> None:
    """Also in the commands for Docker and for services: one that is misspelt would be ignored."""
    known = {name.upper() for name in Settings.model_fields} | VARIABLES_OF_OTHERS
    named = {
        (page.name, name)
        for page in (*PAGES, TOP / "compose.yaml")
        for name in re.findall(r"(?:`| -e |^ +)([A-Z]+(?:_[A-Z]+)+)(?:`|=|: )", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {name for _, name in named} >= {"MARKET_DATA_DIR", "DAGSTER_HOME", "MARKET_TYPE"}
    assert sorted(page_and_name for page_and_name in named if page_and_name[1] not in known) == []


def test_no_command_in_the_docs_installs_a_package_by_the_name_of_this_project() -> None:
    """An index has a foreign package of that name with a higher version, which pip takes, also with `--find-links`."""
    assert TOP / "docs" / "deployment.md" in PAGES
    by_name = re.compile(
        r"(?:install|download)[^\n`]*[ \"']market[-_]data[-_]pipeline(?:[-_]reader)?(?=[\[\"' \n`=]|$)"
    )
    told = [*PAGES, *(TOP / "market_data_pipeline").rglob("*.py")]
    installing = [page.name for page in told for _ in by_name.finditer(page.read_text("utf-8"))]
    assert by_name.search('pip install --find-links dist "market-data-pipeline[s3]"')
    assert sorted(installing) == ["deployment.md"]  # the warning


# --- reports


@pytest.mark.parametrize(
    "kind",
    [
        *(BackfillReport, CombinedMany, CombinedOne, Cost, DayResult, Exported, ExportReport, LiveReport),
        *(LoadedDataset, LoadPlan, ManyReport, Report, ReportedOne, RunReport),
    ],
)
def test_a_report_says_what_its_may_pass_means(kind: type) -> None:
    may_pass = vars(kind)["may_pass"]
    told = " ".join((inspect.getdoc(may_pass if isinstance(may_pass, property) else kind) or "").split())
    assert "the same may succeed later" in told and "disk" in told


# --- routes


def test_every_route_is_on_its_page_as_openapi_has_it(tmp_path: Path) -> None:
    document = create_app(Settings(market_data_dir=tmp_path), dagster_url="http://127.0.0.1:3000").openapi()
    expected = {
        f"{method.upper()} {path}": route_row(document, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    documented = rows_of("docs/api.md", "| route | parameters | statuses | what it does |")
    assert beginnings(documented, expected) == expected


def route_row(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """Parameters (in the query or, after `JSON:`, of the body), statuses, and the description, in one line."""
    parameters = [f"`{found['name']}`" for found in operation.get("parameters", []) if found["in"] == "query"]
    if body := operation.get("requestBody"):
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        parameters += ["JSON:", *(f"`{field}`" for field in document["components"]["schemas"][name]["properties"])]
    return [
        ", ".join(parameters).replace("JSON:, ", "JSON: "),
        ", ".join(sorted(operation["responses"])),
        " ".join(operation["description"].split()),
    ]


# --- names


def test_every_check_kind_state_column_and_fault_is_on_its_page() -> None:
    dagster, store, simulator = text("docs/dagster.md"), text("docs/store.md"), text("docs/simulator.md")
    checks = [*CHECKS, MATCHES_OTHER_SOURCE, FRESH, CAN_BE_READ, NO_PAIR_IS_LOST]
    assert [name for name in checks if f"`{name}`" not in dagster] == []
    assert [kind for kind in Kind if f"`{kind}`" not in store] == []
    assert [state for state in State if f"`{state}`" not in store] == []
    assert [name for name in FIELDS if f"`{name}`" not in store] == []
    hostile = HOSTILE_ANSWERS | HOSTILE_FILES
    assert [name for name in FAULTS.keys() - hostile.keys() if f"`{name}`" not in simulator] == []


def test_every_hostile_fault_is_on_its_page_with_its_text() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", text("docs/hostile-answers.md"), re.MULTILINE)
    assert dict(rows) == HOSTILE_ANSWERS | HOSTILE_FILES


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_the_changelog_names_the_version() -> None:
    from market_data_pipeline import __version__

    assert re.search(rf"^## {re.escape(__version__)} - 20\d\d-\d\d-\d\d$", text("CHANGELOG.md"), flags=re.MULTILINE)


def test_the_offsets_of_zones_are_right() -> None:
    rows = re.findall(r"^\| `([+-]\d\d:\d\d)` \|(.*)\|(.*)\|$", text("docs/time-zones.md"), flags=re.MULTILINE)
    assert len(rows) > 30
    for offset, constant, changing in rows:
        for names, changes in ((constant, False), (changing, True)):
            for name in re.findall(r"`([^`]+)`", names):
                found = {datetime(2026, month, 15, tzinfo=ZoneInfo(name)).utcoffset() for month in (1, 7)}
                assert (min(found), len(found) == 2) == (parse_zone(offset).tzinfo.utcoffset(None), changes), name
