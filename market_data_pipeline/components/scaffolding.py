"""What `dg scaffold defs` writes for the component.

Belongs here: the first `defs.yaml`, and the options of that command. Does not belong here: the attributes (`klines`).
"""

from typing import Any

import dagster as dg
from pydantic import BaseModel, Field


class ScaffoldParams(BaseModel):
    """The options of `dg scaffold defs`."""

    market: str = Field(default="spot", description="spot or futures")
    pair: str = Field(default="BTC/USDT", description="the first pair; more are added in defs.yaml")
    data_dir: str = Field(default="", description="data root; MARKET_DATA_DIR if left out")


class KlineDatasetsScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes a `defs.yaml` with one pair."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """The options of `dg scaffold defs`."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the file."""
        given = request.params
        attributes: dict[str, Any] = {"data_dir": given.data_dir} if given.data_dir else {}
        dg.scaffold_component(request, {**attributes, "market": given.market, "pairs": [given.pair]})
