"""The HTTP API and the browse page: the same use cases for whoever uses neither a shell nor the UI of Dagster.

Belongs here: routes, pages, what a browser may do. Does not belong here: what a request means (`app`), the work itself,
which Dagster runs do (`defs`). This process asks the Dagster webserver to start them and imports no Dagster.
May import: `app`, `instance`, `core`, `settings`. Never `cli`.
"""
