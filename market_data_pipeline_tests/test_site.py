"""The docs as a site: each link leads somewhere, nothing comes from another server, each command of the tours works."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from market_data_pipeline_tests.servers import free_ports
from market_data_pipeline_tests.stopping import OWN_CONSOLE, stop
from market_data_pipeline_tests.support import CHECKOUT, Simulate, wait_until

TOURS = sorted((CHECKOUT / "docs" / "tours").glob("*.md"))
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=\"?https?:|<link[^>]+rel=\"?(?:stylesheet|preload|icon)[^>]+https?:"
)
_LONGEST_S = 300
_BLOCK = re.compile(r"^```(bash|python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_each_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--quiet",
            "-f",
            "packaging/site/mkdocs.yml",
            "-d",
            str(tmp_path / "site"),
        ],
        cwd=CHECKOUT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {page.stem for page in pages} >= {"index", "researcher", "engineer", "operator", "settings", "CHANGELOG"}
    assert [page.name for page in pages if _LOADED.search(page.read_text(encoding="utf-8"))] == []


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The blocks of a page that are meant to be run, with their language."""
    yield from _BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", TOURS, ids=lambda page: page.stem)
def test_each_command_of_a_tour_works(page: Path, simulate: Simulate, tmp_path: Path) -> None:
    root, scripts = tmp_path / "root", Path(sys.executable).parent
    root.mkdir()
    env = os.environ | {
        "MARKET_DATA_DIR": str(root),
        "MARKET_DATA_EXCHANGE_URL": simulate(weights=False, now=None, speed=1).url,
        "DAGSTER_HOME": str(root / "dagster"),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    count = 0
    for language, text in blocks(page):
        if language == "toml":
            assert tomllib.loads(text)
            (root / "market-data.toml").write_text(text, encoding="utf-8")
        elif language == "python":
            run([sys.executable, "-c", text], env, tmp_path)
        else:
            for line in text.splitlines():
                command, _, comment = line.partition("#")
                if command.startswith((". ", "export ")):
                    continue  # of a shell, whose environment the one above is
                count += 1
                if "until Ctrl-C" in comment:
                    until_it_answers(command, env, tmp_path)
                else:
                    # `dg` is run in the checkout, others where the reader is.
                    run(command, env, CHECKOUT if command.startswith("dg ") else tmp_path)
    assert count


def run(command: str | list[str], env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        command if isinstance(command, list) else shlex.split(command),
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def until_it_answers(command: str, env: dict[str, str], folder: Path) -> None:
    """Start it at free ports, wait for the addresses that it prints, open them, and end it."""
    page, ui = free_ports(2)
    words = [*shlex.split(command), "--port", str(page), "--dagster-port", str(ui)]
    log = folder / "up.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(words, cwd=folder, env=env, stdout=file, stderr=file, creationflags=OWN_CONSOLE) as up,
    ):

        def has_printed() -> bool:
            return up.poll() is not None or f":{ui}" in log.read_text(encoding="utf-8")

        try:
            wait_until(has_printed)
            assert [answers(page), answers(ui)] == [True, True], log.read_text(encoding="utf-8")
        finally:
            stop(up)
            up.wait(60)


def answers(port: int) -> bool:
    with suppress(OSError), urlopen(f"http://127.0.0.1:{port}", timeout=10) as page:
        return bool(page.status == 200)
    return False
