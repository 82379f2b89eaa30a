"""The component for Dagster projects of users: datasets of a store beside their own definitions.

Belongs here: what a `defs.yaml` may say, and the definitions that follow from it. Does not belong here: the definitions
themselves (`defs`), this project's own code location (`definitions`).
`dg` finds this module by the entry point `dagster_dg_cli.registry_modules`. It takes what has a name here.
"""

from market_data_pipeline.components.klines import KlineDatasetsComponent

__all__ = ["KlineDatasetsComponent"]
