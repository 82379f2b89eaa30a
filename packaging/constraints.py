"""`python packaging/constraints.py LOCK FILE`: the locked versions as constraints for pip, where there is no checkout.

Belongs here: the same versions in another form. A lock with hashes cannot be a constraint: pip would then ask for the
hash of the wheel that is installed with it, and takes no extras in constraints.
"""

import sys
from pathlib import Path

from packaging.requirements import Requirement


def constraints(lock: str) -> str:
    """The locked requirements, one a line, without hashes and extras."""
    lines = (line.removesuffix("\\") for line in lock.splitlines() if not line.startswith((" ", "#")))
    required = [Requirement(line) for line in lines if line]
    for requirement in required:
        requirement.extras = set()
    return "".join(f"{requirement}\n" for requirement in required)


if __name__ == "__main__":
    given, target = map(Path, sys.argv[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(constraints(given.read_text(encoding="utf-8")), encoding="utf-8")
