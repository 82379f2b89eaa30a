"""`/metrics`: numbers for Prometheus, about the datasets, Dagster's runs, the request weight, and what processes did.

Belongs here: which numbers, and their text. Does not belong here: counting (`core.counting`), the route (`routes`).
Nothing else imports prometheus_client.
"""
