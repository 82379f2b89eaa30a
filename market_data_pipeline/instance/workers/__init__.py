"""Runs on many hosts: Dagster's queue hands each to a worker, through RabbitMQ or Redis.

Belongs here: the run launcher that `dagster.yaml` names, the workers, and how one is known to be alive. Does not belong
here: what a run does, which runs there are (the queue is Dagster's own).
They need the extra `[celery]`, and a Dagster instance in Postgres.
May import: `core.errors`, `core.store`, `core.text`, `instance.budgets`, `instance.home`, `instance.names`.
"""
