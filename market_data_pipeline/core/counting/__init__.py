"""What processes have counted: days, retries, waits, seconds. It is what `/metrics` shows of work that leaves no trace.

Belongs here: which counts there are, adding up in memory, and the file in which the counts of all processes of an
installation come together. Does not belong here: showing them (`api.metrics`), anything that can be read from the
store, from Dagster or from the budget: that is derived when it is asked for.
"""
