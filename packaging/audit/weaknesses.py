"""Known weaknesses of the packages in a lock, by pip-audit.

Run by `make audit` in its own environment: `python weaknesses.py requirements.lock`. pip-audit calls a package good
that it could not ask about, and takes no network for an error with a traceback. Here both are one line and exit code 3.

Exit codes: 0 none is known, 1 there are some, 3 not every package could be asked about.
"""

import json
import subprocess
import sys

_OPTIONS = ("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off")


def main(lock: str) -> int:
    """Ask about each package of the lock, and install none."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, *_OPTIONS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return _not_asked(f"no package: {lines[-1][:200]}")
    weak = [package for package in packages if package.get("vulns")]
    for package in weak:
        for found in package["vulns"]:
            mended = ", ".join(found.get("fix_versions", ())) or "no version yet"
            print(f"{package['name']} {package['version']}: {found['id']}, mended in {mended}")
    if weak:
        return 1
    if skipped := [package["name"] for package in packages if "skip_reason" in package]:
        return _not_asked(f"{len(skipped)} of {len(packages)} packages, such as {', '.join(skipped[:3])}")
    print(f"no weakness of {len(packages)} packages is known")
    return 0


def _not_asked(what: str) -> int:
    print(
        f"known weaknesses could not be asked for of {what}; is there a network to the package index?", file=sys.stderr
    )
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
