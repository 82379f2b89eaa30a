"""What is built for people without a checkout: the wheel, the sdist, and the reader as a wheel of its own.

Dependencies come from the environment of the tests, by a path and not by an editable install, so that a wheel that
lacks a module of this project cannot find it in the checkout.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from market_data_pipeline_tests.support import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheels")]

_MODULES_OF_THE_READER = """
import json, sys
from market_data_pipeline import open_dataset
klines = open_dataset("BTC/USDT", market="spot", root=sys.argv[1])
frame = klines.to_pandas()
print(json.dumps({"rows": len(frame), "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""

_OFFERED_BY_THE_READER = """
before = {*globals(), "before"}
from market_data_pipeline import *
print(*sorted(globals().keys() - before))
import market_data_pipeline
print(*(name in dir(market_data_pipeline) for name in ("open_panel", "backfill")))
print(*(hasattr(market_data_pipeline, name) for name in ("open_panel", "backfill")))
"""


def _build(project: Path, target: str, into: Path) -> Path:
    """The file that is built of a project."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    [built] = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(CHECKOUT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel_of_the_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(CHECKOUT / "packaging" / "reader", "wheel", tmp_path_factory.mktemp("reader"))


class Installed:
    """An environment with one wheel; commands run in it outside of the checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._folder, self._environment = folder, folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self._environment], check=True)
        scheme = {"base": str(self._environment), "platbase": str(self._environment)}
        site = Path(sysconfig.get_path("purelib", "venv", scheme))
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(self._environment), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
        self.scripts = Path(sysconfig.get_path("scripts", "venv", scheme))

    def run(self, script: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        home = {"HOME": str(self._folder), "USERPROFILE": str(self._folder), "PYTHONUTF8": "1"}
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DAGSTER_HOME")}
        return subprocess.run(
            [self.scripts / script, *arguments],
            cwd=self._folder,
            env={**kept, **home, **env},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


@pytest.fixture(scope="module")
def reader_alone(tmp_path_factory: pytest.TempPathFactory, wheel_of_the_reader: Path) -> Installed:
    return Installed(tmp_path_factory.mktemp("reader_alone"), wheel_of_the_reader)


def test_the_sdist_builds_the_same_wheel(tmp_path: Path, wheel: Path) -> None:
    sdist = _build(CHECKOUT, "sdist", tmp_path / "sdist")
    subprocess.run([sys.executable, "-m", "tarfile", "--extract", sdist, tmp_path], check=True, capture_output=True)
    rebuilt = _build(tmp_path / sdist.name.removesuffix(".tar.gz"), "wheel", tmp_path / "wheel")
    assert _files(rebuilt) == _files(wheel)
    assert {"market_data_pipeline/py.typed", "market_data_pipeline/dagster.yaml"} <= _files(wheel).keys()


@pytest.fixture(scope="module")
def demo(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root of a demo that ran outside of a checkout."""
    root = tmp_path_factory.mktemp("demo") / "data"
    ended = installed.run("market-data", "demo", MARKET_DATA_DIR=str(root))
    assert ended.returncode == 0, ended.stderr
    return root.with_name("data-demo")


def test_the_constraints_are_the_locked_versions(tmp_path: Path) -> None:
    lock, written = CHECKOUT / "requirements.lock", tmp_path / "dist" / "constraints.txt"
    command = [sys.executable, CHECKOUT / "packaging" / "constraints.py", lock, written]
    subprocess.run(command, check=True, capture_output=True)
    versions = {
        _normal(name): version
        for name, version in re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^ ;]+)", lock.read_text(encoding="utf-8"), re.M)
    }
    lines = written.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "[" in line or "--hash" in line]
    assert {_normal(name): version for name, version in (line.split(";")[0].split("==") for line in lines)} == versions
    assert "dagster" in versions


def test_the_wheel_has_the_command(installed: Installed) -> None:
    version = installed.run("market-data", "--version")
    assert re.fullmatch(r"market-data \d+\.\d+\.\d+\n", version.stdout), version


def test_the_wheel_has_the_code_location(installed: Installed, tmp_path: Path) -> None:
    listed = installed.run(
        "python",
        "-c",
        "from market_data_pipeline.definitions import defs; print(len(defs().jobs or ()))",
        MARKET_DATA_DIR=str(tmp_path),
    )
    assert int(listed.stdout or 0) > 3, listed.stderr


def test_the_reader_alone_reads_with_what_it_declares(
    demo: Path, reader_alone: Installed, wheel_of_the_reader: Path
) -> None:
    read = reader_alone.run("python", "-c", _MODULES_OF_THE_READER, str(demo))
    assert read.returncode == 0, read.stderr
    seen = json.loads(read.stdout)
    assert seen["rows"] == 31 * 1440 - 60 - 80  # a day of 23 hours, and an outage
    distributions = packages_distributions()
    used = {_normal(name) for module in seen["modules"] for name in distributions.get(module, ())}
    assert "dagster" not in used
    # pandas uses pytz where it is installed.
    assert used - {"market-data-pipeline", "pytz"} <= _needed(wheel_of_the_reader)


@pytest.mark.parametrize(
    ("use", "error"),
    [
        ("import market_data_pipeline; market_data_pipeline.backfill", "AttributeError"),
        ("from market_data_pipeline import backfill", "ImportError"),
    ],
)
def test_the_reader_alone_names_the_wheel_that_has_the_rest(
    reader_alone: Installed, wheel: Path, use: str, error: str
) -> None:
    failed = reader_alone.run("python", "-c", use)
    assert failed.stderr.splitlines()[-1] == (
        f"{error}: backfill is not in the reader alone; in its place install the file {wheel.name}"
    )


def test_the_reader_alone_offers_what_it_has(reader_alone: Installed) -> None:
    offered = reader_alone.run("python", "-c", _OFFERED_BY_THE_READER)
    assert offered.returncode == 0, offered.stderr
    assert offered.stdout.splitlines() == [
        "MarketDataWarning export open_dataset open_panel",
        "True False",
        "True False",
    ]
    page = (CHECKOUT / "docs" / "reader.md").read_text(encoding="utf-8")
    told = page.partition("It has ")[2].partition(", and neither")[0]
    assert sorted(re.findall(r"`(\w+)`", told)) == offered.stdout.split()[:4]


def test_both_wheels_have_one_version_and_one_reader(wheel: Path, wheel_of_the_reader: Path) -> None:
    of_all, of_reader = _files(wheel), _files(wheel_of_the_reader)
    modules = {name for name in of_reader if name.startswith("market_data_pipeline/")}
    assert {name: of_all[name] for name in modules} == {name: of_reader[name] for name in modules}
    assert wheel.name.split("-")[1] == wheel_of_the_reader.name.split("-")[1]


def _files(wheel: Path) -> dict[str, int]:
    """Names and checksums of what is in a wheel."""
    with zipfile.ZipFile(wheel) as content:
        return {each.filename: each.CRC for each in content.infolist()}


def _needed(wheel: Path) -> set[str]:
    """The names of the distributions that a wheel needs, and that those need."""
    with zipfile.ZipFile(wheel) as content:
        [metadata] = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        lines = content.read(metadata).decode().splitlines()
    left = list(_names(line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")))
    found: set[str] = set()
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(_names(requires(name) or ()))
    return found


def _names(requirements: Iterable[str]) -> Iterator[str]:
    for requirement in requirements:
        if "extra ==" not in requirement and "win32" not in requirement:
            yield _normal(re.split(r"[\s<>=!;\[~(]", requirement, maxsplit=1)[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
