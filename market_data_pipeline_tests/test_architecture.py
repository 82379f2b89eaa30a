"""The rooms of the package: how large they are, what they import, and the diagram of them in docs/architecture.md."""

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import grimp
import pytest

from market_data_pipeline_tests.support import CHECKOUT

PACKAGE = CHECKOUT / "market_data_pipeline"
ROOT_MODULES = {"__init__", "__main__", "definitions", "settings", "validators"}
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})
MOST_MODULES = 12
MOST_LINES = 300
MOST_ROOMS_IN_A_CHAIN = 8
_FIRST_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(folder: Path) -> str:
    return folder.relative_to(CHECKOUT).as_posix()


def modules_of(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py"))


def rooms_of(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/__init__.py")}


def charter_of(folder: Path) -> str:
    source = (folder / "__init__.py").read_text(encoding="utf-8")
    return source.split('"""')[1] if source.startswith('"""') else ""


def contract(name: str) -> dict[str, Any]:
    document = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = document["tool"]["importlinter"]["contracts"]
    return next(found for found in contracts if found["id"] == name)


def layers_of(name: str) -> list[frozenset[str]]:
    """The layers of a contract, the highest first."""
    return [frozenset(re.split(r" [|:] ", layer)) for layer in contract(name)["layers"]]


def test_the_root_of_the_package_has_five_modules_and_the_rooms() -> None:
    assert set(modules_of(PACKAGE)) == ROOT_MODULES
    assert {
        folder.name for folder in PACKAGE.iterdir() if folder.is_dir() and folder.name != "__pycache__"
    } == rooms_of(PACKAGE)


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_room_is_small_and_has_a_charter(folder: Path) -> None:
    assert len(modules_of(folder)) - 1 <= MOST_MODULES
    charter = charter_of(folder)
    if folder == PACKAGE / "core":
        assert set(re.findall(r"\b(\w+) {2,}", charter)) >= rooms_of(folder)
    else:
        assert "Belongs here:" in charter


@pytest.mark.parametrize("folder", [PACKAGE, *FOLDERS, CHECKOUT / "tools"], ids=name_of)
def test_no_module_is_longer_than_one_idea(folder: Path) -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("room", ["api", "app", "cli", "core", "python", "reader", "services", "simulator"])
def test_importing_a_room_does_not_import_dagster(room: str) -> None:
    """Importing Dagster takes seconds: only what starts a run waits for it."""
    program = (
        "import importlib, pkgutil, sys\n"
        f"import market_data_pipeline.{room} as room\n"
        "for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "    if 'dagster' in sys.modules:\n"
        "        sys.exit(f'{module.name} imports dagster')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def room_of(module: str) -> str | None:
    """`core.store` for `market_data_pipeline.core.store.chunks.encoding`; None for what is in no room."""
    _, *names = module.split(".")
    if names[:1] == ["core"]:
        return ".".join(names[:2]) if len(names) > 1 and names[1] not in ("errors", "text") else None
    return names[0] if names and names[0] != "__main__" else None


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """The rooms that each room imports, also inside functions."""
    graph = grimp.build_graph("market_data_pipeline", cache_dir=None)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        room = room_of(module)
        others = {room_of(other) for other in graph.find_modules_directly_imported_by(module)}
        if room:
            found[room] |= {other for other in others if other and other != room}
    return found


def test_from_a_face_to_the_store_are_at_most_eight_rooms(imports: dict[str, set[str]]) -> None:
    # Raises CycleError where two rooms import each other, also by way of others.
    inner_first = list(TopologicalSorter(imports).static_order())
    chains: dict[str, list[str]] = {"core.store": ["core.store"]}
    for room in inner_first:
        below = [chains[other] for other in imports[room] if other in chains]
        if below:
            chains[room] = [room, *max(below, key=len)]
    for face in ("cli", "api"):
        assert len(chains[face]) <= MOST_ROOMS_IN_A_CHAIN, " > ".join(chains[face])


def test_every_room_is_in_a_contract() -> None:
    # The simulated exchange has a contract of its own: it shares no code with the others.
    others = {"__init__", "__main__", "simulator"}
    assert frozenset.union(*layers_of("rooms")) == (rooms_of(PACKAGE) | ROOT_MODULES) - others
    assert frozenset.union(*layers_of("core")) == {
        *rooms_of(PACKAGE / "core"),
        "again",
        "errors",
        "source_names",
        "text",
        "urls",
    }


def diagram() -> tuple[list[frozenset[str]], list[frozenset[str]]]:
    """The layers in the first block of docs/architecture.md: those of the package, and those of `core`, indented."""
    block = _FIRST_BLOCK.search((CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert block, "docs/architecture.md has no diagram"
    outer: list[frozenset[str]] = []
    core: list[frozenset[str]] = []
    for line in block[1].splitlines():
        names, phrases = re.fullmatch(r" *(\w+(?: \| \w+)*) {2,}(.+)", line).groups()  # type: ignore[union-attr]
        rooms = names.split(" | ")
        assert len(phrases.split(" | ")) == len(rooms), f"not a phrase for each room: {line}"
        (core if line.startswith("  ") else outer).append(frozenset(rooms))
    return outer, core


def test_the_diagram_in_the_docs_has_the_layers_of_the_contracts() -> None:
    assert diagram() == (layers_of("rooms"), layers_of("core"))
