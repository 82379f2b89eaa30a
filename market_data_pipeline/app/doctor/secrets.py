"""What no line of the examination may show: tokens, passwords, keys.

Belongs here: which values are secret, and taking them out of a text. Does not belong here: the lines (`lines`).

No look puts a secret into its line. This is for texts of others, such as the error of a database.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from market_data_pipeline.app.doctor.lines import Line
from market_data_pipeline.settings import Settings, variable

HIDDEN = "(hidden)"
_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "PGPASSWORD", "POSTGRES_PASSWORD")
_ADDRESSES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "CELERY_BROKER_URL")
# A shorter one would be found in half of all words.
_LEAST_CHARACTERS = 4
_USER_AND_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")


class Secrets:
    """The secrets of an installation."""

    def __init__(self, values: Iterable[str]) -> None:
        """`values` are those that no text may have."""
        self._values = sorted({value for value in values if len(value) >= _LEAST_CHARACTERS}, key=len, reverse=True)

    def hidden(self, line: Line) -> Line:
        """The line without them."""
        return replace(line, detail=self.without(line.detail), cure=self.without(line.cure))

    def without(self, text: str) -> str:
        """The text without them."""
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return _USER_AND_PASSWORD.sub("", text)


def secrets_of(settings: Settings) -> Secrets:
    """The secrets that the settings and the environment have; no file is read, as its disk may not answer."""
    return Secrets(_values(settings))


def passwords_of(address: str | None) -> Iterator[str]:
    """The password in an address, as it is there and as it is meant."""
    with suppress(ValueError):
        if address and (password := urlsplit(address).password):
            yield from (password, unquote(password))


def _values(settings: Settings) -> Iterator[str]:
    for name in type(settings).model_fields:
        if isinstance(value := getattr(settings, name), SecretStr):
            yield value.get_secret_value()
    # An address with a password is refused; folders that would be named after it are shown all the same.
    yield from passwords_of(str(settings.market_data_dir))
    yield from filter(None, map(variable, _VARIABLES))
    for name in _ADDRESSES:
        yield from passwords_of(variable(name))
