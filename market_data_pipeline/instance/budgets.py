"""Where the request-weight budgets of an installation are: in Postgres if its Dagster instance is there, else in files.

Belongs here: which of the two, and what `dagster.yaml` says of the database. Does not belong here: how a budget is kept
(`core.sources.budgets`). Dagster, which takes seconds, is not imported: a process that loads a pair of many has none.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.sources.budgets.budget import Budget, SharedBudget
from market_data_pipeline.instance.home import INSTANCE_FILE
from market_data_pipeline.settings import variable

_CONFIGS = (("storage", "postgres"), ("storage", "custom", "config"), ("run_storage", "config"))
"""Where `dagster.yaml` may have the config of a storage; the last is an older way to write it."""


def open_budget(
    name: str,
    *,
    home: Path,
    folders: Sequence[Path],
    egress: str | None,
    lost: Callable[[], Budget],
    warn: Callable[[str], None],
) -> SharedBudget:
    """The place of a budget. Nothing is created yet.

    Args:
        name: the budget's name.
        home: the Dagster home, whose `dagster.yaml` may name a Postgres.
        folders: where the files are otherwise, the best place first.
        egress: names the address that requests are sent from, None for that of this host.
        lost: see `BudgetOf`.
        warn: see `BudgetOf`.

    Raises:
        UsageError: the Postgres of `dagster.yaml` cannot be used.
    """
    url = postgres_url(home)
    if url is None:
        from market_data_pipeline.core.sources.budgets.file import BudgetFile
        from market_data_pipeline.core.store.disk import waiting

        # The folders are this host's, or at least this user's: the host's name would say nothing more.
        file_name = f"{egress}_{name}" if egress else name
        return BudgetFile(file_name, folders=folders, lost=lost, warn=warn, tell=waiting.tell)
    from market_data_pipeline.core.sources.budgets.postgres import PostgresBudget

    return PostgresBudget(name, url=url, egress=egress or socket.gethostname(), lost=lost, warn=warn)


def postgres_url(home: Path) -> str | None:
    """The URL of the Postgres that the home's `dagster.yaml` names; None if it names none.

    One that Dagster cannot read names none either: nothing runs with it.

    Raises:
        UsageError: a variable that it names is not set, or it leaves the password to a provider of tokens.
    """
    for config in _configs(_document(home / INSTANCE_FILE)):
        if "postgres_url" in config or "postgres_db" in config:
            if config.get("auth_provider"):
                raise UsageError(
                    f"{home / INSTANCE_FILE} names an auth_provider for Postgres, which the request-weight budget "
                    "cannot use; give a password"
                )
            return _url_of(config, home)
    return None


def require_postgres_named(home: Path) -> None:
    """Refuse a Postgres that neither `dagster.yaml` nor the environment names, before Dagster makes its tables there.

    Raises:
        UsageError: none is named, or a variable that `dagster.yaml` names is not set.
    """
    for config in _configs(_document(home / INSTANCE_FILE)):
        if (url := _url_of(config, home)) is not None:
            from market_data_pipeline.core.sources.budgets.engine import require_named

            require_named(url)


def _url_of(config: Mapping[str, Any], home: Path) -> str | None:
    if url := config.get("postgres_url"):
        return _text(url, home)
    return _joined(config["postgres_db"], home) if "postgres_db" in config else None


def _document(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if b"postgres" not in content:
        return None
    import yaml  # a home without Postgres does not wait for it

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError:
        return None


def _configs(document: Any) -> Iterator[Mapping[str, Any]]:
    """What may be the config of a storage in Postgres: of Dagster's own class, and of any other."""
    for path in _CONFIGS:
        config = document
        for key in path:
            config = config.get(key) if isinstance(config, Mapping) else None
        if isinstance(config, Mapping):
            yield config


def _joined(parts: Any, home: Path) -> str:
    """The URL that Dagster makes of the parts."""
    values = {name: _text(value, home) for name, value in dict(parts).items() if name != "params"}
    user = quote(values.get("username", ""), safe="")
    if password := values.get("password"):
        user += f":{quote(password, safe='')}"
    url = f"postgresql://{user}@{values.get('hostname', '')}:{values.get('port', '5432')}/{values.get('db_name', '')}"
    params = dict(parts).get("params")
    return f"{url}?{urlencode(params, quote_via=quote)}" if params else url


def _text(value: Any, home: Path) -> str:
    """A value of `dagster.yaml`, which may be `env: NAME`."""
    if not isinstance(value, Mapping):
        return str(value)
    name = str(value.get("env"))
    if (text := variable(name)) is None:
        raise UsageError(f"{home / INSTANCE_FILE} takes the address of Postgres from {name}, which is not set; set it")
    return text
