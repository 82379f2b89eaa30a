"""Dagster's definitions, one module per kind: assets, checks, partitions, sensors, schedules, jobs, resources.

Belongs here: unpack Dagster's context, call one use case of `core`, report numbers. Does not belong here: anything that
a use case decides, and starting runs in this process (`app`). `location` puts the definitions together.
May import: `core`, `instance`, `settings`.
https://docs.dagster.io/guides/build/projects-and-components
"""
