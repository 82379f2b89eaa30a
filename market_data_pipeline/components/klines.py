"""`KlineDatasetsComponent`: the attributes that a `defs.yaml` may have.

Belongs here: their names, types, meanings and examples. Does not belong here: which datasets they choose (`choosing`),
what `dg scaffold defs` writes (`scaffolding`).
docs/component.md lists the attributes; a test compares that page with this module.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from weakref import WeakKeyDictionary

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, field_validator

from market_data_pipeline.components.choosing import choose
from market_data_pipeline.components.scaffolding import KlineDatasetsScaffolder
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.source_names import SourceName
from market_data_pipeline.core.store.layout import owner_of
from market_data_pipeline.core.urls import is_url
from market_data_pipeline.defs.location import definitions_beside
from market_data_pipeline.settings import Settings
from market_data_pipeline.settings import load as load_settings
from market_data_pipeline.validators import require_owners

# By project, which component defines the sources of a market, or the check of a dataset that cannot be read, which the
# globs of several may mean: two that do would clash.
_definers: WeakKeyDictionary[object, dict[object, object]] = WeakKeyDictionary()


@dg.scaffold_with(KlineDatasetsScaffolder)
class KlineDatasetsComponent(dg.Component, dg.Model, dg.Resolvable):
    """Verified 1-minute klines of Binance pairs, one Parquet chunk for each local day.

    Each pair has the assets `klines_1m` (one partition for each day), `manifest` and `combined`, with asset checks. The
    REST API and the archive of the exchange are shown upstream of them.
    """

    data_dir: Annotated[
        str | None,
        Field(
            description="data root: a folder, or `s3://bucket/prefix`. A relative folder is one of the project. "
            "MARKET_DATA_DIR if left out",
            examples=["/srv/market-data", "s3://klines/live"],
        ),
    ] = None
    market: Annotated[
        Literal["spot", "futures"] | None,
        Field(
            description="market of the pairs; that of the universe, or else MARKET_TYPE, if left out", examples=["spot"]
        ),
    ] = None
    pairs: Annotated[
        list[str],
        Field(
            description="`BASE/QUOTE` or the exchange's symbol, stored or not; globs such as `*/USDT` choose among "
            "pairs that are stored or in the newest catalog; `!*DOWN/*` leaves out what it matches",
            examples=[["BTC/USDT", "ETH/USDT"]],
        ),
    ] = []
    universe: Annotated[
        str | None,
        Field(
            description="also the pairs of `[universe.NAME]` in `market-data.toml` of the data root, with its zone, "
            "start and source where they are left out here",
            examples=["usdt-perps"],
        ),
    ] = None
    zone: Annotated[
        str | None,
        Field(
            description="time zone whose midnights start a day, an IANA name or `±HH:MM`. Datasets that are stored "
            "keep theirs. ALIGN_TZ if left out",
            examples=["UTC", "Europe/Zurich"],
        ),
    ] = None
    start: Annotated[
        str | None,
        Field(
            description="first partition of `klines_1m`; the start of the stored dataset, or else 2020-01-01, if left "
            "out",
            examples=["2024-01-01"],
        ),
    ] = None
    source: Annotated[
        SourceName | None,
        Field(
            description="where klines come from: `auto` is the archive where it has them, else REST. "
            "MARKET_DATA_SOURCE if left out",
            examples=["auto"],
        ),
    ] = None
    live: Annotated[
        bool,
        Field(
            description="a sensor, switched on, that marks the stored datasets as live and stores their newest klines "
            "each minute",
            examples=[True],
        ),
    ] = False
    owners: Annotated[
        list[str] | None,
        Field(
            description="who owns the assets: e-mail addresses and `team:NAME`. MARKET_DATA_OWNERS if left out",
            examples=[["team:quants"]],
        ),
    ] = None
    exchange_url: Annotated[
        str | None,
        Field(
            description="base URL that replaces those of the exchange and the archive. MARKET_DATA_EXCHANGE_URL if "
            "left out",
            examples=["http://127.0.0.1:9000"],
        ),
    ] = None

    # In place of patterns, which `dg` would hold against templates.
    @field_validator("owners")
    @classmethod
    def _are_owners(cls, owners: list[str] | None) -> list[str] | None:
        for owner in owners or ():
            require_owners(owner)
        return owners

    @field_validator("exchange_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url and not is_url(url):
            raise ValueError("give a URL, such as http://127.0.0.1:9000")
        return url

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What `dg` and the UI show of the component."""
        return dg.ComponentTypeSpec(tags=["binance", "klines", "parquet"], produces=["asset", "asset_check", "sensor"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Make the component of the attributes of a `defs.yaml`.

        Raises:
            DagsterInvalidDefinitionError: an attribute has a value that it cannot have; the message is one line.
        """
        try:
            return super().load(attributes, context)
        except ValidationError as errors:
            raise dg.DagsterInvalidDefinitionError(
                f"{_place(context, context.project_root)}: {_first_line(errors)}"
            ) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Define the datasets. Reads the data root, writes nothing and sends no request.

        Raises:
            DagsterInvalidDefinitionError: an attribute cannot be used; the message is one line.
        """
        try:
            chosen = choose(
                self._settings(context.project_root),
                market=self.market,
                pairs=self.pairs,
                universe=self.universe,
                zone=self.zone,
                start=self.start,
                source=self.source,
            )
        except MarketDataError as error:
            raise dg.DagsterInvalidDefinitionError(f"{_place(context, context.project_root)}: {error}") from None
        return definitions_beside(
            chosen.datasets,
            [path for path in chosen.damaged if _is_first_of(owner_of(path), context)],
            chosen.tools,
            sources_of_market=chosen.market if _is_first_of(chosen.market, context) else None,
            live_sensor=(chosen.market, f"{chosen.market.exchange_id}_live_{_name_of(context)}") if self.live else None,
        )

    def _settings(self, project: Path) -> Settings:
        return load_settings(
            market_data_dir=self._data_dir_in(project),
            market_data_exchange_url=self.exchange_url or None,
            market_data_owners=",".join(self.owners) if self.owners else None,
        )

    def _data_dir_in(self, project: Path) -> str | None:
        if not self.data_dir:  # a template may be empty, as a variable, which counts as unset then
            return None
        if "://" in self.data_dir or self.data_dir.startswith("~"):
            return self.data_dir
        return str(project / self.data_dir)


def _is_first_of(what: object, context: dg.ComponentLoadContext) -> bool:
    """False if another component of the project, built before this one, defines what there is for this once."""
    first = _definers.setdefault(context.component_tree.state_tracker, {})
    return first.setdefault(what, context.component_loc) == context.component_loc


def _place(context: dg.ComponentLoadContext, folder: Path) -> str:
    """Where the component is: its folder, and its number in a file of several if it is not the first."""
    return context.component_loc.get_display_key(folder).removesuffix("[0]")


def _name_of(context: dg.ComponentLoadContext) -> str:
    """The same as a part of a name, without the folder that all components are in."""
    return re.sub(r"[^A-Za-z0-9]+", "_", _place(context, context.defs_module_path)).strip("_").lower() or "klines"


def _first_line(errors: ValidationError) -> str:
    first = errors.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}, not {first['input']!r:.60}"
