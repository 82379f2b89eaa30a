"""Run the tests under CPython for Windows, in Wine: `sudo .venv/bin/python tools/windows_in_wine.py FOLDER [PART ...]`.

Belongs here: which tests run there, and their counts. Does not belong here: setting up Wine and that Python
(`wine_setup`), what is tested, other operating systems. `.ci/run` does not use it: Wine takes many times as long as
Windows or Linux.

It needs Debian on x86-64 as root, the package `debootstrap`, this checkout's `.venv`, a network and 6 GB. Packages come
from where apt and pip of this machine take them; Wine is that of Debian 13, as older ones are too old.

All that it makes is in the folder, where the next run finds it; delete the folder when it is not needed any more. Each
run gets a copy of the checkout as it is. No process and no mount is left behind. Wine is slow, so this tells what
works, and not how fast.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from wine_setup import CHECKOUT, Wine, made

# How many times as long as usual tests wait.
PATIENCE = 10
PARTS = {
    "store": ["core/store", "core/counting", "reader/test_reader.py"],
    "cli": ["cli"],
    "locks": [
        "core/loading/test_beside_others.py",
        "core/sources/test_shared_budget.py",
        "instance/test_orphans.py",
        "test_many_at_once.py",
    ],
    "live": ["core/live", "app/test_live_session.py"],
    "kill": ["test_kill.py"],
    "services": ["services", "simulator/test_server.py"],
    "paths": ["test_paths.py"],
}
"""The tests of each part, below `market_data_pipeline_tests`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what it is set up in, made if there is none")
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)}, or a path below the tests; all parts if left out")
    parser.add_argument("--pytest", default="", metavar="OPTIONS", help="options for pytest, in one word: '-k live'")
    options = parser.parse_args()
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("error: this needs root on Linux, and debootstrap: apt-get install debootstrap")
    # As an error, by which subprocess ends what it has started; that would run on, and disturb the next run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wine = made(options.folder.resolve())
    copy_checkout(wine)
    reports = [run_part(wine, part, shlex.split(options.pytest)) for part in options.part or PARTS]
    print("\n" + "\n".join(map(str, reports)))
    return int(any(report.bad for report in reports))


@dataclass(frozen=True)
class Report:
    """How the tests of a part ended."""

    part: str
    passed: int
    bad: int
    skipped: int
    minutes: float

    def __str__(self) -> str:
        counts = f"{self.passed:4} passed {self.bad:4} failed {self.skipped:4} skipped"
        return f"{self.part:10} {counts}  in {self.minutes:5.1f} min"


def copy_checkout(wine: Wine) -> None:
    """Copy the files that git knows or would add."""
    target = wine.debian / "checkout"
    shutil.rmtree(target, ignore_errors=True)
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")):
        if (source := CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run_part(wine: Wine, part: str, more: list[str]) -> Report:
    """Run the tests of a part, as far as they can be run."""
    report = wine.debian / "report.xml"
    report.unlink(missing_ok=True)
    paths = [f"market_data_pipeline_tests/{path}" for path in PARTS.get(part, [part])]
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-o", f"timeout={300 * PATIENCE}", "--junitxml=Z:\\report.xml"]
    print(f"\n== {part}", flush=True)
    command = ["wine", "Z:\\windows\\python.exe", *pytest, *more, *paths]
    code = wine.run("sh", "-c", 'cd /checkout && exec "$@"', "sh", *command, MARKET_DATA_TEST_PATIENCE=str(PATIENCE))
    if not report.exists():
        print(f"{part}: pytest ended with {code} and no report")
        return Report(part, 0, 1, 0, 0.0)
    [suite] = ElementTree.parse(report).iter("testsuite")
    count = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    bad = count["failures"] + count["errors"]
    return Report(
        part, count["tests"] - bad - count["skipped"], bad, count["skipped"], float(suite.attrib["time"]) / 60
    )


if __name__ == "__main__":
    sys.exit(main())
