"""The datasets of the store and their health, as pages show them: kept in memory, read again after they have changed.

Belongs here: what is kept between requests, coverage by month, the last result of each check, the health of a dataset.
Does not belong here: the content of files (`core.store`), proving (`core.proof`), pages (`pages`).
May import: `dagster_client` and what `api` may import.
"""
