"""Versions: of this package, of Python, of the packages that decide how it works, of the system.

Belongs here: reading them without importing the packages. Does not belong here: which versions are asked for
(`pyproject.toml`).
"""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from market_data_pipeline import __version__
from market_data_pipeline.app.doctor.lines import Line

SECTION = "versions"
_PACKAGES = ("dagster", "dagster-webserver", "ccxt", "pyarrow")
_LEAST, _BEYOND = (3, 11), (3, 14)


def versions() -> Iterator[Line]:
    """A line for each version."""
    yield Line(SECTION, "market-data", __version__)
    fits = _LEAST <= sys.version_info[:2] < _BEYOND
    text = f"{platform.python_implementation()} {platform.python_version()}"
    yield Line(SECTION, "Python", text, "" if fits else "install Python 3.11, 3.12 or 3.13, and this package there")
    found = {name: _version(name) for name in _PACKAGES}
    for name, number in found.items():
        cure = "" if number else "install market-data again from the wheel of make dist, which brings it"
        if name == "dagster-webserver" and number and found["dagster"] and number != found["dagster"]:
            cure = f"run pip install dagster-webserver=={found['dagster']}: it has to be of dagster's version"
        yield Line(SECTION, name, number or "not installed", cure)
    yield Line(SECTION, "system", platform.platform())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
