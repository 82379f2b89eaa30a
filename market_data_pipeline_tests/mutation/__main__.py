"""`python -m market_data_pipeline_tests.mutation`: do the tests notice when a line of the rooms is changed?

Belongs here: which rooms and tests take part, the table of what was found, and what is said of survivors. Does not
belong here: making mutants (`mutants`) and trying them (`trying`).

A survivor is counted as missed, unless `survivors.txt` beside this file has its name under a reason.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from market_data_pipeline_tests.mutation.functions import Mutant
from market_data_pipeline_tests.mutation.trying import Trial, Trying

# Nothing of the package is imported before pytest, which warns of its plugins if they are there before it.
CHECKOUT = Path(__file__).parents[2]
CORE = CHECKOUT / "market_data_pipeline" / "core"
ROOMS = {
    "klines": ["klines"],
    "store": ["store"],
    "loading": ["loading"],
    "governor": ["sources/governor.py", "sources/budgets"],
}
# Those of other rooms that call what core's own tests do not: requests and costs of loads, roots in buckets.
_TESTS = "core", "app", "python", "cli/test_plan.py", "test_bucket.py", "test_bucket_access.py"
TESTS = [CHECKOUT / "market_data_pipeline_tests" / name for name in _TESTS]
LEAST = 85
REASONS = Path(__file__).with_name("survivors.txt")
RESULTS = CHECKOUT / "build" / "mutation"
Ends = dict[str, dict[str, str]]
"""How each mutant of a room has ended."""
MISSED = "survived", "no test"
_ROW = "{:<10} {:>8} {:>6} {:>7} {:>9} {:>9} {:>8} {:>10} {:>8}"
_HEADS = "room", "mutants", "tried", "caught", "too slow", "survived", "no test", "explained", "score"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m market_data_pipeline_tests.mutation")
    parser.add_argument("--mutmut", default=sys.executable, metavar="PYTHON", help="a Python that has mutmut")
    parser.add_argument("--each", type=int, default=150, help="how many mutants of each room are tried (150)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (0)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30, help="of the tests that try a mutant (30)")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time without a reason")
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), help=", ".join(ROOMS))
    asked = parser.parse_args()
    if unknown := set(asked.rooms) - set(ROOMS):
        parser.error(f"no such room: {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    if not hasattr(os, "fork"):
        sys.exit("error: mutants are tried in forks, which this system does not have; use Linux, macOS or WSL")
    RESULTS.mkdir(parents=True, exist_ok=True)
    made = _made(asked.mutmut, {room: _files(room) for room in asked.rooms}, asked.seed, asked.each)
    mutants = [Mutant(**drawn) for drawn in made["drawn"]]
    last, reasons = RESULTS / "results.json", _reasons()
    ends: Ends = json.loads(last.read_text(encoding="utf-8")) if asked.again and last.exists() else {}
    if asked.again:
        again = {name for each in ends.values() for name, end in each.items() if end in MISSED} - reasons.keys()
        mutants = [mutant for mutant in mutants if mutant.name in again]
    for trial in _tried(mutants, asked.processes, asked.seconds):
        ends.setdefault(trial.mutant.room, {})[trial.mutant.name] = trial.end
    last.write_text(json.dumps(ends, indent=1), encoding="utf-8")
    if asked.rooms == list(ROOMS):
        for name in reasons.keys() - {name for names in made["all"].values() for name in names}:
            print(f"no such mutant any more, take it out of {REASONS.name}: {name}")
    return 0 if _told_rooms(ends, reasons, made["all"]) else 1


def _files(room: str) -> list[str]:
    paths = (CORE / name for name in ROOMS[room])
    found = (sorted(path.rglob("*.py")) if path.is_dir() else [path] for path in paths)
    return [str(path) for each in found for path in each]


def _module_of(file: str) -> str:
    return ".".join(Path(file).relative_to(CHECKOUT).with_suffix("").parts)


def _made(python: str, files: dict[str, list[str]], seed: int, each: int) -> Any:
    asked = json.dumps({"files": files, "seed": seed, "each": each})
    program = Path(__file__).with_name("mutants.py")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return json.loads(subprocess.run([python, program], input=asked, stdout=-1, env=kept, text=True, check=True).stdout)


def _tried(mutants: Sequence[Mutant], processes: int, seconds: float) -> list[Trial]:
    out, ended = sys.stdout, Counter[str]()

    def told(trial: Trial) -> None:
        ended[trial.end] += 1
        if trial.end in MISSED:
            print(f"{trial.end}: {trial.mutant.name}", file=out, flush=True)
        if ended.total() % 50 == 0:
            print(f"{ended.total()} of {len(mutants)} mutants are tried", file=sys.stderr, flush=True)

    modules = {file: _module_of(file) for room in ROOMS for file in _files(room)}
    # What tests call depends on the whole package.
    sources = sorted((CHECKOUT / "market_data_pipeline").rglob("*.py"))
    package = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    notes = RESULTS / f"tests-{package[:16]}.json"
    trying = Trying(mutants, modules=modules, notes=notes, processes=processes, most_s=seconds, told=told)
    log = RESULTS / "pytest.txt"
    # -s: what tests print goes where the fork sends it.
    arguments = ["-s", "-p", "no:cacheprovider", "-m", "not slow and not soak", *map(str, TESTS)]
    with log.open("w", encoding="utf-8") as file, redirect_stdout(file):
        code = pytest.main(arguments, plugins=[trying])
    if code or trying.failed:
        sys.exit(f"error: tests fail without a mutant, see {log}: {', '.join(trying.failed)}")
    return trying.trials


def _reasons() -> dict[str, str]:
    """The names in `survivors.txt`, each with the line before it that begins with `#`."""
    found, reason = {}, ""
    for line in REASONS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = line
        elif line:
            found[line] = reason
    return found


def _told_rooms(ends: Ends, reasons: dict[str, str], every: dict[str, list[str]]) -> bool:
    """Print a line for each room; whether each of them is good enough."""
    print(_ROW.format(*_HEADS))
    good = True
    for room, names in every.items():
        tried = {name: end for name, end in ends.get(room, {}).items() if end != "no change"}
        counts = Counter(tried.values())
        explained = sum(end in MISSED and name in reasons for name, end in tried.items())
        counted = len(tried) - explained
        score = 100 * (counts["caught"] + counts["too slow"]) / counted if counted else 100.0
        good &= score >= LEAST
        numbers = len(tried), counts["caught"], counts["too slow"], counts["survived"], counts["no test"], explained
        print(_ROW.format(room, f"{len(names):,}", *numbers, f"{score:.1f} %"))
    return good


if __name__ == "__main__":
    sys.exit(main())
