"""Dagster's own records: days that it has forgotten are told to it again, old runs are deleted.

Belongs here: the jobs and schedules for that. Does not belong here: jobs about klines (`defs.jobs`, `defs.bulk`), which
runs and events are deleted (`instance.retention`).
"""
