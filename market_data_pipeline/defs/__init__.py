"""Dagster's definitions, one module per kind: assets, checks, partitions, sensors, schedules, jobs, resources.

Belongs here: reading Dagster's context, calling one use case of `core`, returning its numbers. Does not belong here:
the decisions of a use case (`core`), starting runs in this process (`instance.runs`, `app`). `location` collects the
definitions.
May import: `core`, `instance`, `settings`.
https://docs.dagster.io/guides/build/projects-and-components
"""
