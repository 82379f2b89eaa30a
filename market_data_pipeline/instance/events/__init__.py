"""Events in any of Dagster's databases: many with one commit, those of a day in few bytes, and what stays of them.

Belongs here: what the storages of SQLite (`instance.storage`) and of Postgres (`instance.postgres_storage`) share, and
what those who log events call; and what is known of them without Dagster. Does not belong here: a database's files,
tables and connections.
May import: `instance.names`, `core`.
"""
