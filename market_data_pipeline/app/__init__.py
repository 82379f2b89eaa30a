"""What every face calls: one module per use case, from a request to its report.

Belongs here: which datasets a request is about, which core call or Dagster run it takes, the report. Does not belong
here: parsing of command lines and HTTP, printing, the work itself (`core`). Dagster is imported inside the functions
that need a run, so that all else starts quickly.
May import: `defs`, `instance`, `core`, `settings`. It imports no face.
"""
