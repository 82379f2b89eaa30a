"""Opening an object store.

Belongs here: the library, addresses, credentials, patience. Does not belong here: requests (`objects`).

Credentials are taken from where other programs find them, and are in no text: from the environment, from the profile in
`~/.aws`, or from the machine's role.
"""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.text import one_line
from market_data_pipeline.core.urls import is_url

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# A server that refuses connections has refused this many within 4 s. The pauses between them are random.
_FEW_RETRIES, _FEW_PAUSE_S, _MANY_RETRIES = 8, 0.5, 1000
# Those of a role are got again before they expire: botocore gives none that have less than ten minutes left.
_CREDENTIALS_KEPT = timedelta(minutes=5)
_ENDPOINT = re.compile(r"https?://[^\s/@?#]+/?")
SERVER = re.compile(r"\b(https?://)(?:[^/\s@]*@)?([^/\s?]+)")
MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one try may take to connect, without a byte and in all, and for how long it is tried again, in s."""

    connect_s: float
    silent_s: float
    try_s: float
    tries_s: float
    longest_pause_s: float


# A load has much to lose. A reader is mostly a person, who is told within 10 s.
OF_LOADS, OF_READERS = Patience(5, 30, 30, 45, 3), Patience(3, 5, 30, 4, 1)


def library(name: str) -> ModuleType:
    """One of the modules that only those need whose data root is in a bucket.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            "the data root is in a bucket, for which a package is missing; install the extra [s3], with the wheel of "
            "make dist"
        ) from error


def opened(root: str, patience: Patience = OF_LOADS, *, has_answered: bool = False) -> "ObjectStore":
    """The object store below the address of a data root; no request is sent.

    One that has answered before will come back, and is waited for. One that never has may not exist.

    Raises:
        UsageError: it cannot be one, or the library is missing.
    """
    store, exceptions = library("obstore.store"), library("obstore.exceptions")
    _unset_what_is_empty()
    more = _profile() if root.startswith("s3://") else {}
    endpoint = _endpoint() or more.pop("endpoint", None)
    if endpoint and root.startswith("s3://"):
        # A server of one's own is mostly reached by its address, which no bucket's name can be put before.
        more |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    options: Any = {
        "timeout": timedelta(seconds=patience.try_s),
        "connect_timeout": timedelta(seconds=patience.connect_s),
        "read_timeout": timedelta(seconds=patience.silent_s),
        "allow_http": bool(endpoint and endpoint.startswith("http://")),
    }
    longest_pause_s = patience.longest_pause_s if has_answered else _FEW_PAUSE_S
    pauses = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=longest_pause_s), "base": 2}
    retries: Any = {
        "max_retries": _MANY_RETRIES if has_answered else _FEW_RETRIES,
        "retry_timeout": timedelta(seconds=patience.tries_s),
        "backoff": pauses,
    }
    try:
        # A URL has spaces, and letters beyond ASCII, in another form.
        place: ObjectStore = store.from_url(
            quote(root, safe=":/"), client_options=options, retry_config=retries, **more
        )
    except (ValueError, TypeError, exceptions.BaseError) as error:
        raise UsageError(f"{root} cannot be used as a data root: {first_line(error)}") from None
    return place


def _endpoint() -> str | None:
    """The server that the environment names, which is S3 itself if it names none.

    Raises:
        UsageError: it is no address. The message does not repeat it, as it may contain a password.
    """
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if address := _variable(name):
            return _require_server(address, name)
    return None


def _require_server(address: str, name: str) -> str:
    if not (_ENDPOINT.fullmatch(address) and is_url(address)):
        raise UsageError(f"{name} is no address of a server; give https://host:port, and credentials apart from it")
    return address


def _profile() -> dict[str, Any]:
    """What the profile in `~/.aws` says, unless the environment has a key; nothing if there is no such folder.

    As for the AWS command line, it may have keys, a role to assume, a login (SSO) or the command `credential_process`.
    """
    folder, name = _expanded(Path("~/.aws")), _variable("AWS_PROFILE")
    files = [
        Path(_variable(variable) or folder / file)
        for variable, file in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
    ]
    if _variable("AWS_ACCESS_KEY_ID") or not (name or any(_expanded(file).is_file() for file in files)):
        return {}
    botocore = library("botocore.session")
    try:
        session = botocore.Session(profile=name)
        section, credentials = session.get_scoped_config(), session.get_credentials()
    except (library("botocore.exceptions").BotoCoreError, OSError, ValueError) as error:
        raise UsageError(f"the profile {name or 'default'} in {folder} cannot be used: {first_line(error)}") from None
    found = dict[str, Any]()
    if "region" in section and not (_variable("AWS_REGION") or _variable("AWS_DEFAULT_REGION")):
        found["region"] = section["region"]
    if "endpoint_url" in section:
        found["endpoint"] = _require_server(section["endpoint_url"], f"endpoint_url of the profile {name or 'default'}")
    if credentials is not None:
        provider = library("obstore.auth.boto3").Boto3CredentialProvider
        found["credential_provider"] = provider(session, ttl=_CREDENTIALS_KEPT)
    return found


def _expanded(path: Path) -> Path:
    """The path from the home folder; as it is, where no file is, for a user without one."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _unset_what_is_empty() -> None:
    """Unset the variables that are empty: the library takes an empty address for one, and an empty key."""
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]:  # noqa: TID251
        os.environ.pop(name, None)  # noqa: TID251


def _variable(name: str) -> str | None:
    """A variable that belongs to the object store and not to us, so that no setting has it."""
    return os.environ.get(name)  # noqa: TID251


def first_line(error: Exception) -> str:
    """What an error of the library says, without a URL's credentials and what is for its developers."""
    return one_line(SERVER.sub(r"\1\2", str(error).partition("\n\nDebug source")[0]), MOST_CHARACTERS)
