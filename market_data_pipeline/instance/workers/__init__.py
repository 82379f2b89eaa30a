"""Runs on many hosts: Dagster's queue hands each to a worker, through RabbitMQ or Redis, or to a pod of Kubernetes.

Belongs here: the run launchers that `dagster.yaml` names, the workers, how one is known to be alive. Does not belong
here: what a run does, which runs there are (the queue is Dagster's own).
They need the extra `[celery]` or `[k8s]`, and a Dagster instance in Postgres.
May import: `core.counting`, `core.errors`, `core.store`, `core.text`, `instance.alive`, `instance.budgets`,
`instance.home`, `instance.names`.
"""
