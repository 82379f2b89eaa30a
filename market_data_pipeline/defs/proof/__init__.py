"""The proof of datasets in Dagster: the job of each night, and the results of checks.

Belongs here: what is recorded of a proof, and when. Does not belong here: finding out what is wrong (`core.proof`), the
definitions of checks (`defs.checks`), when the job runs (`defs.schedules`).
"""
