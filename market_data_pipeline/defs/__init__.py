"""When Dagster does it: partitions, resources, assets and checks, one module per kind."""
