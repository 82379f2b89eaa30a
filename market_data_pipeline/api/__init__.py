"""The HTTP API and the browse page, for users of neither the command line nor the Dagster UI.

Belongs here: routes, pages, and protection against other sites and machines. Does not belong here: use cases (`app`),
the work itself, which Dagster runs do (`defs`). This process imports no Dagster: it starts runs through the GraphQL
interface of the Dagster webserver.
May import: `app`, `instance`, `core`, `settings`. Never `cli`.
"""
