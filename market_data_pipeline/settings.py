"""The settings: the environment variables of this project, read nowhere else.

Belongs here: their names, defaults and meanings. Does not belong here: what depends on them.
docs/settings.md lists every variable; a test compares that page with this module.
"""

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _default_data_dir() -> Path:
    return Path("C:/MarketData") if sys.platform == "win32" else Path.home() / "MarketData"


class Settings(BaseSettings):
    """The settings of one process, which do not change. An empty environment variable counts as unset."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    market_data_dir: Annotated[Path, Field(description="data root: chunks, manifests, combined files")] = Field(
        default_factory=_default_data_dir
    )
    market_type: Annotated[str, Field(description="market of the default dataset, `spot` or `futures`")] = "futures"
    symbol: Annotated[str, Field(description="pair of the default dataset")] = "BTC/USDT"
    align_tz: Annotated[str, Field(description="time zone whose midnights start a day, an IANA name or `±HH:MM`")] = (
        "UTC"
    )
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
        Path | None, Field(description="folder of the logs: `loader.log`, and one of each process of `market-data up`")
    ] = None
    market_data_source: Annotated[
        str,
        Field(
            description="where klines come from: `auto` (the archive where it has them, else REST), `rest` or `archive`"
        ),
    ] = "auto"
    market_data_exchange_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/]+",
            description="base URL that replaces those of the exchange and the archive, "
            "such as the simulated exchange's",
        ),
    ] = None
    market_data_api_token: Annotated[
        SecretStr | None,
        Field(description="bearer token that the HTTP API requires for requests that change something"),
    ] = None
    dagster_home: Annotated[Path | None, Field(description="folder of the Dagster instance")] = None

    @property
    def root(self) -> Path:
        """The data root, absolute."""
        return self.market_data_dir.expanduser().absolute()

    @property
    def budgets(self) -> tuple[Path, ...]:
        """The folders for the request-weight budgets: the user's, then one of the data root."""
        from platformdirs import user_state_path

        under_root = self.root / ".governor"
        try:
            return user_state_path("market_data_pipeline", appauthor=False) / "budgets", under_root
        except RuntimeError:  # a user without a home
            return (under_root,)

    @property
    def logs(self) -> Path:
        """The folder of the logs, absolute."""
        return (self.log_dir or self.root / "logs").expanduser().absolute()

    @property
    def home(self) -> Path:
        """The folder of the Dagster instance, absolute."""
        return (self.dagster_home or self.root / "dagster").expanduser().absolute()


def load(**replacements: str | Path | None) -> Settings:
    """The settings of the environment, with replacements by name for those that are not None.

    Raises:
        UsageError: an environment variable has a value that its setting cannot have.
    """
    from market_data_pipeline.core.errors import UsageError

    try:
        return Settings().model_copy(update={name: value for name, value in replacements.items() if value is not None})
    except ValidationError as errors:
        first = errors.errors()[0]
        name = str(first["loc"][0]).upper()
        raise UsageError(f"{name}={first['input']!r} cannot be used: {first['msg']}") from None
