"""What the docs say is there is there, and what is there is said."""

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import typer.main

from market_data_pipeline.api.app import create_app
from market_data_pipeline.cli.main import app
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.defs.checks import CAN_BE_READ, FRESH, MATCHES_OTHER_SOURCE
from market_data_pipeline.instance.names import CHECKS
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.faults import FAULTS

TOP = Path(__file__).parents[1]


def text(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


def commands() -> dict[str, list[str]]:
    """Each command with its long options."""
    group = typer.main.get_command(app)
    return {
        name: [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        for name, command in group.commands.items()
    }


def test_every_command_is_in_the_readme():
    documented = re.findall(r"^\| `([a-z]+)` \|", text("README.md"), flags=re.MULTILINE)
    assert sorted(documented) == sorted(commands())


def test_every_option_is_in_the_docs():
    docs = text("README.md") + text("docs/simulator.md")
    missing = [
        f"{command} {option}"
        for command, options in commands().items()
        for option in options
        if option != "--help" and option.replace("--align-window", "align-window") not in docs
    ]
    assert missing == []


def test_every_setting_is_on_its_page_with_its_meaning():
    rows = {
        row[0]: row[1] for row in re.findall(r"^\| `([A-Z_]+)` \|.*\| (.*) \|$", text("docs/settings.md"), re.MULTILINE)
    }
    fields = {name.upper(): field.metadata for name, field in Settings.model_fields.items()}
    assert sorted(rows) == sorted(fields)


def test_every_route_is_on_its_page(tmp_path: Path):
    api = create_app(Settings(market_data_dir=tmp_path), dagster_url="http://127.0.0.1:3000")
    routes = {f"{method.upper()} {path}" for path, methods in api.openapi()["paths"].items() for method in methods}
    documented = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text("docs/api.md"), flags=re.MULTILINE))
    assert routes - documented == set()


def test_every_check_kind_state_column_and_fault_is_on_its_page():
    dagster, store, simulator = text("docs/dagster.md"), text("docs/store.md"), text("docs/simulator.md")
    checks = [*CHECKS, MATCHES_OTHER_SOURCE, FRESH, CAN_BE_READ]
    assert [name for name in checks if f"`{name}`" not in dagster] == []
    assert [kind for kind in Kind if f"`{kind}`" not in store] == []
    assert [state for state in State if f"`{state}`" not in store] == []
    assert [name for name in FIELDS if f"`{name}`" not in store] == []
    assert [name for name in FAULTS if f"`{name}`" not in simulator] == []


def test_links_between_pages_lead_somewhere():
    pages = [TOP / "README.md", TOP / "CHANGELOG.md", *(TOP / "docs").rglob("*.md")]
    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_the_changelog_names_the_version():
    from market_data_pipeline import __version__

    assert f"## {__version__}" in text("CHANGELOG.md") or "## Unreleased" in text("CHANGELOG.md")


def test_the_offsets_of_zones_are_right():
    rows = re.findall(r"^\| `([+-]\d\d:\d\d)` \|(.*)\|(.*)\|$", text("docs/time-zones.md"), flags=re.MULTILINE)
    assert len(rows) > 30
    for offset, constant, changing in rows:
        for names, changes in ((constant, False), (changing, True)):
            for name in re.findall(r"`([^`]+)`", names):
                found = {datetime(2026, month, 15, tzinfo=ZoneInfo(name)).utcoffset() for month in (1, 7)}
                assert (min(found), len(found) == 2) == (parse_zone(offset).tzinfo.utcoffset(None), changes), name
