"""The HTTP API and the browse page: the same graph for programs and people who want neither a shell nor Dagster's UI.

Belongs here: routes, pages, what a browser may do. Does not belong here: what a request means (`loading`,
`operations`), the work itself, which Dagster runs do (`defs`).
"""
