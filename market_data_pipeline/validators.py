"""Validators of texts that people give: in settings, in parameters of the API, in the YAML of a component.

Belongs here: validators that say what to write, where pydantic would show a regular expression. Does not belong here:
which setting or parameter has which (`settings`, `api`, `components`), how a text is read (`core`).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import AfterValidator, SecretStr

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.urls import WRITE_URL, is_url

# As Dagster has them.
_OWNER = re.compile(r"team:\S+|[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+")


def of_form(pattern: str, told: str) -> AfterValidator:
    """A validator for texts that match; `told` is said of others."""

    def check(text: str | None) -> str | None:
        if text is not None and not re.fullmatch(pattern, text):
            raise ValueError(told)
        return text

    return AfterValidator(check)


def read_by(parse: Callable[[str], object]) -> AfterValidator:
    """A validator for texts that the parser reads; its UsageError is said of others."""

    def check(text: str) -> str:
        with refusing():
            parse(text)
        return text

    return AfterValidator(check)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a UsageError into the ValueError that pydantic takes for a refusal."""
    try:
        yield
    except UsageError as error:
        raise ValueError(str(error)) from None


def require_home(path: Path | str | None) -> Path | str | None:
    """The path as it is.

    Raises:
        ValueError: it begins with the home folder of a user that has none.
    """
    try:
        if isinstance(path, Path):
            path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder; give an absolute path") from None
    return path


def require_owners(names: str) -> str:
    """The names of owners as they are, separated by commas.

    Raises:
        ValueError: Dagster takes one for neither a person nor a team.
    """
    if not all(_OWNER.fullmatch(name.strip()) for name in names.split(",")):
        raise ValueError("give e-mail addresses or team:NAME, separated by commas")
    return names


def require_url(url: str | None) -> str | None:
    """The URL as it is.

    Raises:
        ValueError: it is none.
    """
    if url is not None and not is_url(url):
        raise ValueError(WRITE_URL)
    return url


def require_secret_url(url: SecretStr | None) -> SecretStr | None:
    """The URL as it is.

    Raises:
        ValueError: it is none, or has a user in it.
    """
    text = url.get_secret_value() if url else ""
    if text and not (re.fullmatch(r"https?://[^\s/@?#]+(?:[/?]\S*)?", text) and is_url(text)):
        raise ValueError("give a URL, https://host/path")
    return url
