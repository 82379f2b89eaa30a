"""The use cases that the command line and the HTTP API call, one module each, from a request to its report.

Belongs here: which datasets a request is about, which call of `core` or which Dagster run it needs, the report. Does
not belong here: parsing of command lines and HTTP, printing, the work itself (`core`). Dagster is imported inside the
functions that start a run, as the import takes seconds.
May import: `defs`, `instance`, `core`, `settings`. It imports no face.
"""
