"""The settings: the environment variables of this project, read nowhere else.

Belongs here: their names, defaults and meanings. Does not belong here: what depends on them.
docs/settings.md lists every variable; a test compares that page with this module.
"""

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market, parse_market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.source_names import SOURCE_NAMES, SOURCE_NAMES_TEXT
from market_data_pipeline.validators import (
    of_form,
    read_by,
    refusing,
    require_home,
    require_owners,
    require_secret_url,
    require_url,
)

if TYPE_CHECKING:
    from market_data_pipeline.core.store.storage.protocol import StorePath

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _default_data_dir() -> Path:
    if sys.platform == "win32":
        return Path("C:/MarketData")
    try:
        return Path.home() / "MarketData"
    except RuntimeError:
        raise UsageError("this user has no home folder to keep the data in; set MARKET_DATA_DIR") from None


def _require_pair(text: str, info: ValidationInfo) -> str:
    market = parse_market(info.data.get("market_type", Market.FUTURES.value))
    with refusing():
        parse_pair(text, has_contracts=market.has_contracts)
    return text


def _data_root(given: Any) -> Any:
    """An address, of a bucket or of what is none, as text, anything else as a path."""
    is_address = isinstance(given, str) and re.match(r"\w+://|(s3|gs|az):", given, re.IGNORECASE)
    return Path(given) if isinstance(given, str) and not is_address else given


class Settings(BaseSettings):
    """The settings of one process, which do not change. An empty environment variable counts as unset."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    market_data_dir: Annotated[
        Path | str,
        BeforeValidator(_data_root),
        AfterValidator(require_home),
        Field(
            description="data root: chunks, manifests, combined files; a folder, or `s3://bucket/prefix` "
            "([in a bucket](store.md#in-a-bucket))"
        ),
    ] = Field(default_factory=_default_data_dir)
    market_type: Annotated[
        str, read_by(parse_market), Field(description="market of the default dataset, `spot` or `futures`")
    ] = "futures"
    symbol: Annotated[str, AfterValidator(_require_pair), Field(description="pair of the default dataset")] = "BTC/USDT"
    align_tz: Annotated[
        str,
        read_by(parse_zone),
        Field(description="time zone whose midnights start a day, an IANA name or `±HH:MM`"),
    ] = "UTC"
    build_combined_on_backfill: Annotated[bool, Field(description="also build the combined file in every backfill")] = (
        False
    )
    manifest_write_interval_sec: Annotated[
        Seconds,
        Field(description="shortest time between two writes of a manifest during a load or in live mode, s"),
    ] = 300
    extra_sleep_sec: Annotated[
        Seconds,
        Field(description="additional pause before each request, s; the request-weight budget is kept without it"),
    ] = 0
    log_dir: Annotated[
        Path | None,
        AfterValidator(require_home),
        Field(description="folder of the logs: `loader.log`, and one of each process of `market-data up`"),
    ] = None
    market_data_source: Annotated[
        str,
        of_form("|".join(SOURCE_NAMES), f"write {SOURCE_NAMES_TEXT}"),
        Field(
            description="where klines come from: `auto` (the archive where it has them, else REST), `rest` or `archive`"
        ),
    ] = "auto"
    market_data_exchange_url: Annotated[
        str | None,
        AfterValidator(require_url),
        Field(
            description="base URL that replaces those of the exchange and the archive, "
            "such as the simulated exchange's",
        ),
    ] = None
    market_data_api_token: Annotated[
        SecretStr | None,
        Field(description="bearer token that the HTTP API requires for requests that change something"),
    ] = None
    market_data_egress: Annotated[
        str | None,
        of_form(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", "write at most 100 letters, digits and ._:- such as office-1"),
        Field(
            description="name of the IP address that requests are sent from; all who give the same name share "
            "[one budget](#budgets)",
        ),
    ] = None
    market_data_metrics_address: Annotated[
        str | None,
        of_form(r"([^\s:/]+:|\[[0-9A-Fa-f:.]+\]:)?[0-9]{1,5}", "write a port such as 9101, or HOST:PORT"),
        Field(
            description="`port` or `host:port` at which live mode, code servers and workers serve `/metrics`; "
            "without a host, on this machine only",
        ),
    ] = None
    market_data_alert_url: Annotated[
        SecretStr | None,
        AfterValidator(require_secret_url),
        Field(
            description="webhook that Dagster's sensor `alerts` sends news of failed runs and checks to "
            "([alerts](monitoring.md#alerts))"
        ),
    ] = None
    market_data_runs_kept_days: Annotated[
        int,
        Field(
            ge=0,
            le=36_500,
            description="days that a run is kept in Dagster after its end; 0 keeps all "
            "([old runs](operations.md#old-runs))",
        ),
    ] = 90
    market_data_proof_days: Annotated[
        int,
        Field(ge=1, le=3650, description="the nightly proof reads each chunk again within so many days"),
    ] = 7
    market_data_proof_hours: Annotated[
        float,
        Field(
            gt=0, le=24, description="the nightly proof takes at most so many hours, then tells what it has not read"
        ),
    ] = 4
    market_data_owners: Annotated[
        str,
        AfterValidator(require_owners),
        Field(
            description="who owns the assets in Dagster: e-mail addresses and names of teams, `team:NAME`, "
            "separated by commas"
        ),
    ] = "team:market-data"
    dagster_home: Annotated[
        Path | None, AfterValidator(require_home), Field(description="folder of the Dagster instance")
    ] = None
    _is_hurried: bool = PrivateAttr(default=False)

    @property
    def owners(self) -> tuple[str, ...]:
        """The owners of the assets in Dagster."""
        return tuple(name.strip() for name in self.market_data_owners.split(","))

    @property
    def root(self) -> "StorePath":
        """The data root, absolute.

        Raises:
            UsageError: `market_data_dir` is the address of none.
        """
        from market_data_pipeline.core.store.storage.places import hurried, root_at

        root = root_at(self.market_data_dir)
        return hurried(root) if self._is_hurried else root

    def hurried(self) -> "Settings":
        """The same for who only reads, and waits 10 s for a bucket that is away, where a load waits 45 s."""
        settings = self.model_copy()
        settings._is_hurried = True
        return settings

    @property
    def folder(self) -> Path:
        """The folder of what stays on this machine, absolute: the data root, or one of its own if that is a bucket."""
        if isinstance(self.market_data_dir, Path):
            return self.market_data_dir.expanduser().absolute()
        from platformdirs import user_data_path

        # An address has no `+`, so each root has a name of its own.
        name = self.market_data_dir.rstrip("/").replace("://", "-").replace("/", "+")
        return user_data_path("market_data_pipeline", appauthor=False) / name

    @property
    def budgets(self) -> tuple[Path, ...]:
        """The folders for the request-weight budgets: the user's, then one of the data root."""
        from platformdirs import user_state_path

        under_root = self.folder / ".governor"
        try:
            return user_state_path("market_data_pipeline", appauthor=False) / "budgets", under_root
        except RuntimeError:  # a user without a home
            return (under_root,)

    @property
    def summaries(self) -> Path | None:
        """The file that keeps the numbers of the browse page of this data root; None for a user without a home."""
        from platformdirs import user_state_path

        name = hashlib.sha256(str(self.root).encode()).hexdigest()[:32]
        try:
            return user_state_path("market_data_pipeline", appauthor=False) / "summaries" / f"{name}.json"
        except RuntimeError:
            return None

    @property
    def logs(self) -> Path:
        """The folder of the logs, absolute."""
        return (self.log_dir or self.folder / "logs").expanduser().absolute()

    @property
    def home(self) -> Path:
        """The folder of the Dagster instance, absolute."""
        return (self.dagster_home or self.folder / "dagster").expanduser().absolute()


def public_variables() -> list[str]:
    """The names of all settings that are not secret, and of what the default of a path depends on."""
    fields = Settings.model_fields.items()
    return [*(name.upper() for name, field in fields if not _is_secret(field)), "HOME", "USERPROFILE"]


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in get_args(field.annotation)


def variable(name: str) -> str | None:
    """The value of an environment variable that a file names, such as `dagster.yaml`; None if it is not set."""
    return os.environ.get(name)


def load(**replacements: str | Path | None) -> Settings:
    """The settings of the environment, with replacements by name for those that are not None.

    Raises:
        UsageError: an environment variable has a value that its setting cannot have.
    """
    try:
        given = {name: value for name, value in replacements.items() if value is not None}
        if "market_data_dir" in given:
            given["market_data_dir"] = _data_root(given["market_data_dir"])
        return Settings().model_copy(update=given)
    except ValidationError as errors:
        raise UsageError(next(iter(_refused(errors).values()))) from None


def load_usable() -> tuple[Settings, dict[str, str]]:
    """The settings of the environment, with the default of each that has an impossible value, and why, by variable."""
    try:
        return Settings(), {}
    except ValidationError as errors:
        refused = _refused(errors)
    fields = Settings.model_fields
    defaults: dict[str, Any] = {
        name.lower(): fields[name.lower()].get_default(call_default_factory=True, validated_data={}) for name in refused
    }
    return Settings(**defaults), refused


def _refused(errors: ValidationError) -> dict[str, str]:
    """Why variables cannot be used, by their names, without the values of those that are secret."""
    refused = dict[str, str]()
    for error in errors.errors():
        name = str(error["loc"][0]).upper()
        shown = name if _is_secret(Settings.model_fields[name.lower()]) else f"{name}={error['input']!r}"
        refused.setdefault(name, f"{shown} cannot be used: {error['msg'].removeprefix('Value error, ')}")
    return refused
